"""Response bodies of the completion surface."""

from typing import Any

from rest_framework import serializers

from conversations.models import Role
from conversations.surfaces.responses import RowSchema


class MessageSchema(RowSchema):
    id = serializers.UUIDField()
    author = serializers.ChoiceField(choices=Role.values, source="role")
    content = serializers.CharField(allow_blank=True)
    created_at = serializers.DateTimeField()

    class Meta:
        ref_name = "CompletionMessage"


class ConversationSchema(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    messages = MessageSchema(many=True)
    created_at = serializers.DateTimeField()

    class Meta:
        ref_name = "CompletionConversation"
