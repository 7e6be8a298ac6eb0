"""Request bodies of the session surface."""

from django.conf import settings

from conversations.surfaces.request_fields import BodySerializer, IgnoredField, SessionIdField, StrictCharField


class SendSerializer(BodySerializer):
    session_id = SessionIdField()
    message = StrictCharField(max_length=settings.MAX_MESSAGE_CHARACTERS)
    assistant_id = StrictCharField(required=False, allow_null=True, max_length=100)
    language = IgnoredField()
    history = IgnoredField("Accepted and ignored, because the service stores the history.")

    class Meta:
        ref_name = "SessionSend"
