"""Request bodies of the contract surface. They have exactly these fields."""

from django.conf import settings

from conversations.models import MAX_TITLE_CHARACTERS
from conversations.surfaces.request_fields import ClosedSerializer, IgnoredField, StrictBooleanField, StrictCharField


class ConversationCreateSerializer(ClosedSerializer):
    title = StrictCharField(max_length=MAX_TITLE_CHARACTERS)
    model_tag = StrictCharField(max_length=100)

    class Meta:
        ref_name = "ContractConversationCreate"


class ConversationPatchSerializer(ClosedSerializer):
    title = StrictCharField(required=False, max_length=MAX_TITLE_CHARACTERS)
    model_tag = StrictCharField(required=False, max_length=100)

    class Meta:
        ref_name = "ContractConversationPatch"


class SentMessageSerializer(ClosedSerializer):
    content = StrictCharField(max_length=settings.MAX_MESSAGE_CHARACTERS)
    id = IgnoredField()
    conversation_id = IgnoredField()
    role = IgnoredField()
    token_count = IgnoredField()
    model_tag = IgnoredField()
    inference_time_ms = IgnoredField()
    created_at = IgnoredField()

    class Meta:
        ref_name = "ContractSentMessage"


class SendSerializer(ClosedSerializer):
    message = SentMessageSerializer()
    stream = StrictBooleanField(required=False, default=True, help_text="false: return the reply as JSON instead of a stream.")

    class Meta:
        ref_name = "ContractSend"
