"""Request and response formats of the completion surface."""

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
    """A boolean, also as the string "true" or "false", which some front-ends send."""

    def to_internal_value(self, data: Any) -> bool:
        return super().to_internal_value({"true": True, "false": False}.get(data, data) if isinstance(data, str) else data)


class CompletionSerializer(serializers.Serializer[Any]):
    message = StrictCharField(max_length=MAX_CONTENT_CHARACTERS)
    stream = SpelledBooleanField(required=False, default=False)


# --- Responses, for the OpenAPI description. The views write them --------------------------------------------------------


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
