"""Response bodies of the contract surface. They have exactly these fields, never null."""

from rest_framework import serializers

from conversations.models import DEFAULT_TITLE, Role
from conversations.surfaces.request_fields import ClosedSerializer
from conversations.surfaces.responses import RowSchema


class HealthSchema(ClosedSerializer):
    status = serializers.CharField()
    ready = serializers.BooleanField()

    class Meta:
        ref_name = "ContractHealth"


class ConversationSchema(RowSchema, ClosedSerializer):
    id = serializers.UUIDField()
    user_id = serializers.UUIDField()
    title = serializers.CharField(initial=DEFAULT_TITLE)
    model_tag = serializers.CharField(allow_blank=True)
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()

    class Meta:
        ref_name = "ContractConversation"


class MessageSchema(RowSchema, ClosedSerializer):
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
