"""Request bodies of the session surface."""

import msgspec
from django.conf import settings

from conversations.surfaces.long_bodies import LongBodyParser
from conversations.surfaces.request_fields import BodySerializer, IgnoredField, SessionIdField, StrictCharField


class SendSerializer(BodySerializer):
    session_id = SessionIdField()
    message = StrictCharField(max_length=settings.MAX_MESSAGE_CHARACTERS)
    assistant_id = StrictCharField(required=False, allow_null=True, max_length=100)
    language = IgnoredField()
    history = IgnoredField("Accepted and ignored, because the service stores the history.")

    class Meta:
        ref_name = "SessionSend"


class LongSend(msgspec.Struct, gc=False):
    """What is read of a long body: not the history."""

    session_id: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    message: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    assistant_id: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class SendParser(LongBodyParser):
    fields = LongSend
