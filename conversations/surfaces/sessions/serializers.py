"""Request and response formats of the session surface."""

from typing import Any

from rest_framework import serializers

from conversations.models import MAX_CONTENT_CHARACTERS, SESSION_ID_PATTERN, Role
from conversations.surfaces.fields import IgnoredField, StrictCharField

MAX_SESSION_ID_CHARACTERS = 200

MESSAGE_COLUMNS = ("id", "content", "role", "created_at")


def message_json(row: dict[str, Any]) -> dict[str, Any]:
    """Return the response form of a row of MESSAGE_COLUMNS."""
    return {"id": row["id"], "text": row["content"], "sender": "user" if row["role"] == Role.USER else "bot"}


class SessionIdField(serializers.RegexField):
    def __init__(self) -> None:
        super().__init__(SESSION_ID_PATTERN, max_length=MAX_SESSION_ID_CHARACTERS, trim_whitespace=False)

    def to_internal_value(self, data: Any) -> str:
        # The pattern's $ also matches before a line break at the end.
        if not isinstance(data, str) or data.endswith("\n"):
            self.fail("invalid")
        return super().to_internal_value(data)


class SendSerializer(serializers.Serializer[Any]):
    session_id = SessionIdField()
    message = StrictCharField(max_length=MAX_CONTENT_CHARACTERS)
    assistant_id = StrictCharField(required=False, allow_null=True, max_length=100)
    language = IgnoredField()
    history = IgnoredField("Accepted and ignored, because the service stores the history.")

    class Meta:
        ref_name = "SessionSend"


# --- Responses, for the OpenAPI description ------------------------------------------------------------------------------


class MessageSchema(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    text = serializers.CharField(allow_blank=True)
    sender = serializers.ChoiceField(choices=["user", "bot"])

    class Meta:
        ref_name = "SessionMessage"


class HistorySchema(serializers.Serializer[Any]):
    messages = MessageSchema(many=True)

    class Meta:
        ref_name = "SessionHistory"


class ForgottenSchema(serializers.Serializer[Any]):
    message = serializers.CharField()

    class Meta:
        ref_name = "SessionForgotten"
