"""Request and response formats of the contract surface. Responses have exactly these fields, never null."""

from rest_framework import serializers

from conversations.models import MAX_CONTENT_CHARACTERS, MAX_TITLE_CHARACTERS, Role
from conversations.surfaces.documentation import ClosedSerializer
from conversations.surfaces.fields import IgnoredField, StrictBooleanField, StrictCharField

CONVERSATION_COLUMNS = ("id", "user_id", "title", "model_tag", "created_at", "updated_at")
MESSAGE_COLUMNS = (
    "id",
    "conversation_id",
    "role",
    "content",
    "token_count",
    "model_tag",
    "inference_time_ms",
    "created_at",
)


# --- Requests ----------------------------------------------------------------------------------------------------------


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
    content = StrictCharField(max_length=MAX_CONTENT_CHARACTERS)
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


# --- Responses, for the OpenAPI description. `row_shapes` and the views write them ----------------------------------------


class HealthSchema(ClosedSerializer):
    status = serializers.CharField()
    ready = serializers.BooleanField()

    class Meta:
        ref_name = "ContractHealth"


class ConversationSchema(ClosedSerializer):
    id = serializers.UUIDField()
    user_id = serializers.UUIDField()
    title = serializers.CharField()
    model_tag = serializers.CharField(allow_blank=True)
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()

    class Meta:
        ref_name = "ContractConversation"


class MessageSchema(ClosedSerializer):
    id = serializers.UUIDField()
    conversation_id = serializers.UUIDField()
    role = serializers.ChoiceField(choices=Role.values)
    content = serializers.CharField(allow_blank=True)
    token_count = serializers.IntegerField(min_value=0)
    model_tag = serializers.CharField(allow_blank=True)
    inference_time_ms = serializers.IntegerField(min_value=0)
    created_at = serializers.DateTimeField()

    class Meta:
        ref_name = "ContractMessage"
