"""Request bodies of the session surface."""

from typing import Any

from rest_framework import serializers

from conversations.models import MAX_CONTENT_CHARACTERS
from conversations.surfaces.request_fields import IgnoredField, SessionIdField, StrictCharField


class SendSerializer(serializers.Serializer[Any]):
    session_id = SessionIdField()
    message = StrictCharField(max_length=MAX_CONTENT_CHARACTERS)
    assistant_id = StrictCharField(required=False, allow_null=True, max_length=100)
    language = IgnoredField()
    history = IgnoredField("Accepted and ignored, because the service stores the history.")

    class Meta:
        ref_name = "SessionSend"
