"""Request bodies of the session surface."""

from typing import ClassVar

from django.conf import settings

from conversations.surfaces.long_bodies import LongBodyParser, raw_fields
from conversations.surfaces.request_fields import (
    BodySerializer,
    IgnoredField,
    SessionIdField,
    StrictCharField,
    choices_except,
)


class SendSerializer(BodySerializer):
    unsupported: ClassVar = choices_except()

    session_id = SessionIdField()
    message = StrictCharField(max_length=settings.MAX_MESSAGE_CHARACTERS)
    assistant_id = StrictCharField(required=False, allow_null=True, max_length=100)
    language = IgnoredField()
    history = IgnoredField("Accepted and ignored, because the service stores the history.")

    class Meta:
        ref_name = "SessionSend"


# What is read of a long body: not the history.
LongSend = raw_fields("session_id", "message", "assistant_id", *SendSerializer.unsupported)


class SendParser(LongBodyParser):
    fields = LongSend
