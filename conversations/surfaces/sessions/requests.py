"""Request bodies of the session surface."""

from typing import Any

from django.conf import settings
from rest_framework import serializers

from conversations.surfaces.request_fields import IgnoredField, SessionIdField, StrictCharField


class SendSerializer(serializers.Serializer[Any]):
    session_id = SessionIdField()
    message = StrictCharField(max_length=settings.MAX_MESSAGE_CHARACTERS)
    assistant_id = StrictCharField(required=False, allow_null=True, max_length=100)
    language = IgnoredField()
    history = IgnoredField("Accepted and ignored, because the service stores the history.")

    class Meta:
        ref_name = "SessionSend"
