"""Response bodies of the completion surface."""

from datetime import datetime
from typing import ClassVar
from uuid import UUID

from msgspec import Struct, field

from chatapi.api.rows import Row
from conversations.models import Role


class MessageSchema(Row):
    ref_name: ClassVar = "CompletionMessage"

    id: UUID
    role: Role = field(name="author")
    content: str
    created_at: datetime


class ConversationSchema(Struct):
    ref_name: ClassVar = "CompletionConversation"

    id: UUID
    messages: list[MessageSchema]
    created_at: datetime
