"""Response bodies of the contract surface. They have exactly these fields, never null."""

from datetime import datetime
from typing import Annotated, ClassVar
from uuid import UUID

from msgspec import Meta, Struct

from chatapi.api.rows import Row
from conversations.models import DEFAULT_TITLE, Role


class HealthSchema(Struct, forbid_unknown_fields=True):
    ref_name: ClassVar = "ContractHealth"

    status: str
    ready: bool


class ConversationSchema(Row, forbid_unknown_fields=True):
    ref_name: ClassVar = "ContractConversation"

    id: UUID
    user_id: UUID
    title: Annotated[str, Meta(extra={"empty": DEFAULT_TITLE})]
    model_tag: str
    created_at: datetime
    updated_at: datetime


class MessageSchema(Row, forbid_unknown_fields=True):
    ref_name: ClassVar = "ContractMessage"

    id: UUID
    conversation_id: UUID
    role: Role
    content: str
    token_count: Annotated[int, Meta(ge=0)]
    model_tag: str
    inference_time_ms: Annotated[int, Meta(ge=0)]
    created_at: datetime
