"""The session surface's shapes."""

from typing import Any

from rest_framework import serializers

from conversations.models import MAX_CONTENT_CHARACTERS, Role
from conversations.surfaces.fields import StrictCharField

MAX_SESSION_ID_CHARACTERS = 200
# "stream" is an address of this surface. A slash, or what a URL would have to spell differently, can't be addressed.
SESSION_ID_FORM = r"^(?!stream$)[A-Za-z0-9][A-Za-z0-9._:@-]{0,199}$"

MESSAGE_COLUMNS = ("id", "content", "role", "created_at")


def message_json(row: dict[str, Any]) -> dict[str, Any]:
    """Shape a row of MESSAGE_COLUMNS."""
    return {"id": row["id"], "text": row["content"], "sender": "user" if row["role"] == Role.USER else "bot"}


class SessionIdField(serializers.RegexField):
    def __init__(self) -> None:
        super().__init__(SESSION_ID_FORM, max_length=MAX_SESSION_ID_CHARACTERS, trim_whitespace=False)

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


class SendSerializer(serializers.Serializer[Any]):
    session_id = SessionIdField()
    message = StrictCharField(max_length=MAX_CONTENT_CHARACTERS)
    assistant_id = StrictCharField(required=False, allow_null=True, max_length=100)
    language = serializers.JSONField(required=False, allow_null=True, help_text="Accepted and ignored.")
    history = serializers.JSONField(required=False, allow_null=True, help_text="Accepted and ignored: the history is ours.")

    class Meta:
        ref_name = "SessionSend"


# --- Responses: how they are documented ----------------------------------------------------------------------------------


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
