"""Request bodies of the session surface."""

from typing import Any

from rest_framework import serializers

from conversations.models import MAX_CONTENT_CHARACTERS, SESSION_ID_PATTERN
from conversations.surfaces.request_fields import IgnoredField, StrictCharField

MAX_SESSION_ID_CHARACTERS = 200


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
