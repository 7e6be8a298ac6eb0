"""The completion surface's shapes."""

from typing import Any

from rest_framework import serializers

from conversations.models import MAX_CONTENT_CHARACTERS, Message, Role
from conversations.surfaces.fields import StrictBooleanField, StrictCharField
from conversations.surfaces.nulls import known_time


def message_json(message: Message, content: str) -> dict[str, Any]:
    return {
        "id": message.id,
        "author": message.role,
        "content": content,
        "created_at": known_time(message.created_at),
    }


class SpelledBooleanField(StrictBooleanField):
    """true and false, also as the strings that form posts and templates make of them."""

    def to_internal_value(self, data: Any) -> bool:
        return super().to_internal_value({"true": True, "false": False}.get(data, data) if isinstance(data, str) else data)


class CompletionSerializer(serializers.Serializer[Any]):
    message = StrictCharField(max_length=MAX_CONTENT_CHARACTERS)
    stream = SpelledBooleanField(required=False, default=False)


# --- Responses: how they are documented; the views write them ------------------------------------------------------------


class MessageSchema(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    author = serializers.ChoiceField(choices=Role.values)
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
