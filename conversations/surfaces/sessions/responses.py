"""Response bodies of the session surface."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, Self
from uuid import UUID

from msgspec import Meta, Struct, field

from chatapi.api.rows import Row
from conversations.models import Role


class MessageSchema(Row):
    ref_name: ClassVar = "SessionMessage"

    id: UUID
    content: str = field(name="text")
    role: Literal["user", "bot"] = field(name="sender")

    @classmethod
    def from_rows(cls, rows: Sequence[Mapping[str, Any]]) -> list[Self]:
        return super().from_rows([{**row, "role": "user" if row["role"] == Role.USER else "bot"} for row in rows])


class HistorySchema(Struct):
    ref_name: ClassVar = "SessionHistory"

    messages: list[MessageSchema]


class ForgottenSchema(Struct):
    ref_name: ClassVar = "SessionForgotten"

    message: str


class ClaimedSchema(Struct):
    ref_name: ClassVar = "SessionClaimed"

    session_id: Annotated[str, Meta(description="Another one if you had a session of the same id.")]
    conversation_id: UUID
