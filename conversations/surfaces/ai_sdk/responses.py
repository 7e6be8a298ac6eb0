"""Response bodies of the AI SDK surface."""

from collections.abc import Mapping
from typing import Any

from rest_framework import serializers

from conversations.models import DEFAULT_TITLE, Role, Status
from conversations.surfaces.responses import RowSchema, known_time


class PartSchema(serializers.Serializer[Any]):
    type = serializers.ChoiceField(choices=["text", "reasoning"])
    text = serializers.CharField(allow_blank=True)
    state = serializers.ChoiceField(choices=["done"], required=False, help_text="Only in replies.")

    class Meta:
        ref_name = "UIMessagePart"


class MetadataSchema(serializers.Serializer[Any]):
    createdAt = serializers.DateTimeField()  # noqa: N815  # in the style of the SDK
    status = serializers.ChoiceField(choices=Status.values, required=False, help_text="Only in replies.")
    finishReason = serializers.CharField(  # noqa: N815
        required=False, allow_blank=True, help_text="Only in replies: why the model ended this one. Empty if it did not say."
    )

    class Meta:
        ref_name = "UIMessageMetadata"


class UIMessageSchema(serializers.Serializer[Any]):
    id = serializers.CharField(
        help_text="For a user message that a client named: that name. It stays when it is edited under this name."
    )
    role = serializers.ChoiceField(choices=[Role.USER, Role.ASSISTANT])
    parts = PartSchema(many=True)
    metadata = MetadataSchema()

    class Meta:
        ref_name = "UIMessage"


class ChatSchema(RowSchema):
    # The id from the path: the client's name for the chat.
    id = serializers.CharField()
    title = serializers.CharField(initial=DEFAULT_TITLE)

    class Meta:
        ref_name = "Chat"


class ChatDetailSchema(ChatSchema):
    messages = UIMessageSchema(many=True)

    class Meta:
        ref_name = "ChatDetail"


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


def ui_message(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a message as the SDK keeps it, from a row with at least MESSAGE_COLUMNS."""
    created = {"createdAt": known_time(row["created_at"])}
    if row["role"] != Role.ASSISTANT:
        parts = [{"type": "text", "text": row["content"]}]
        return {"id": name_of_question(row), "role": row["role"], "parts": parts, "metadata": created}
    ended = {"status": row["status"], "finishReason": row["finish_reason"] or ""}
    parts = _reply_parts(row["reasoning"], row["content"])
    return {"id": str(row["id"]), "role": row["role"], "parts": parts, "metadata": {**created, **ended}}


def name_of_question(row: Mapping[str, Any]) -> str:
    """Return the client's id of a question, else that of its first version, else the first version's own id.

    A client that edits under the old id gives none to the new version. A client that edits by sending another question in the
    old one's place does.
    """
    name = row["idempotency_key"] or row["parent__idempotency_key"]
    return name or str(row["parent_id"] or row["id"])


def _reply_parts(reasoning: str | None, text: str) -> list[dict[str, str]]:
    parts = [{"type": "reasoning", "text": reasoning, "state": "done"}] if reasoning else []
    # The SDK's own validation refuses a message without parts.
    if text or not parts:
        parts.append({"type": "text", "text": text, "state": "done"})
    return parts
