"""Response bodies of the AI SDK surface."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from chatapi.api.rows import Row, known_time
from conversations.models import DEFAULT_TITLE, Role, Status


class PartSchema(Struct):
    ref_name: ClassVar = "UIMessagePart"

    type: Literal["text", "reasoning"]
    text: str
    state: Annotated[Literal["done"] | UnsetType, Meta(description="Only in replies.")] = UNSET


class MetadataSchema(Struct, rename="camel"):
    ref_name: ClassVar = "UIMessageMetadata"

    created_at: datetime
    status: Annotated[Status | UnsetType, Meta(description="Only in replies.")] = UNSET
    finish_reason: Annotated[
        str | UnsetType, Meta(description="Only in replies: why the model ended this one. Empty if it did not say.")
    ] = UNSET


class UIMessageSchema(Struct):
    ref_name: ClassVar = "UIMessage"

    id: Annotated[
        str,
        Meta(description="For a user message that a client named: that name. It stays when it is edited under this name."),
    ]
    role: Literal["user", "assistant"]
    parts: list[PartSchema]
    metadata: MetadataSchema


class ChatSchema(Row):
    ref_name: ClassVar = "Chat"

    # The id from the path: the client's name for the chat.
    id: str
    title: Annotated[str, Meta(extra={"empty": DEFAULT_TITLE})]


class ChatDetailSchema(ChatSchema):
    ref_name: ClassVar = "ChatDetail"

    messages: list[UIMessageSchema]


# The columns that `ui_message` reads.
MESSAGE_COLUMNS = (
    "id",
    "role",
    "content",
    "reasoning",
    "status",
    "finish_reason",
    "created_at",
    "parent_id",
    "idempotency_key",
    "parent__idempotency_key",
)


def ui_message(row: Mapping[str, Any]) -> UIMessageSchema:
    """Return a message as the SDK keeps it, from a row with at least MESSAGE_COLUMNS."""
    created_at = known_time(row["created_at"])
    if row["role"] != Role.ASSISTANT:
        parts = [PartSchema("text", row["content"])]
        return UIMessageSchema(name_of_question(row), row["role"], parts, MetadataSchema(created_at))
    metadata = MetadataSchema(created_at, row["status"], row["finish_reason"] or "")
    return UIMessageSchema(str(row["id"]), row["role"], _reply_parts(row["reasoning"], row["content"]), metadata)


def name_of_question(row: Mapping[str, Any]) -> str:
    """Return the client's id of a question, else that of its first version, else the first version's own id.

    A client that edits under the old id gives none to the new version. A client that edits by sending another question in the
    old one's place does.
    """
    name = row["idempotency_key"] or row["parent__idempotency_key"]
    return name or str(row["parent_id"] or row["id"])


def _reply_parts(reasoning: str | None, text: str) -> list[PartSchema]:
    parts = [PartSchema("reasoning", reasoning, "done")] if reasoning else []
    # The SDK's own validation refuses a message without parts.
    if text or not parts:
        parts.append(PartSchema("text", text, "done"))
    return parts
