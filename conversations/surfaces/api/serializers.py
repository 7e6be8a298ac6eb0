"""Request and response formats of the primary surface."""

from typing import Any

from drf_spectacular.utils import extend_schema_serializer
from rest_framework import serializers

from conversations.models import MAX_CONTENT_CHARACTERS, MAX_TITLE_CHARACTERS, Role, Status
from conversations.surfaces.fields import (
    StrictBooleanField,
    StrictCharField,
    StrictChoiceField,
    StrictFloatField,
    StrictIntegerField,
)
from inference_proxy.protocols.base import Sampling

# running_message_id is not a column: `ConversationQuerySet.with_running_reply` adds it.
CONVERSATION_COLUMNS = (
    "id",
    "user_id",
    "title",
    "model_tag",
    "is_favorited",
    "assistant_id",
    "created_at",
    "updated_at",
    "running_message_id",
)
MESSAGE_COLUMNS = (
    "id",
    "conversation_id",
    "role",
    "content",
    "token_count",
    "model_tag",
    "inference_time_ms",
    "created_at",
    "status",
    "parent_id",
    "is_active",
    "error_code",
    "feedback",
)
MESSAGE_DETAIL_COLUMNS = (*MESSAGE_COLUMNS, "context")


# --- Requests ----------------------------------------------------------------------------------------------------------


class ConversationCreateSerializer(serializers.Serializer[Any]):
    title = StrictCharField(
        required=False,
        allow_null=True,
        allow_blank=True,
        max_length=MAX_TITLE_CHARACTERS,
        help_text='With null, "" or a placeholder such as "New chat", the first message names the conversation.',
    )
    model_tag = StrictCharField(
        required=False, allow_null=True, allow_blank=True, max_length=100, help_text='null or "": the default model.'
    )
    assistant_id = StrictCharField(required=False, allow_null=True, max_length=100)
    temporary = StrictBooleanField(
        required=False, default=False, help_text="Not listed, and no longer available 24 hours after its last turn."
    )


class ConversationPatchSerializer(serializers.Serializer[Any]):
    title = StrictCharField(required=False, max_length=MAX_TITLE_CHARACTERS)
    model_tag = StrictCharField(required=False, max_length=100)
    is_favorited = StrictBooleanField(required=False)


class ConversationPutSerializer(ConversationPatchSerializer):
    title = StrictCharField(max_length=MAX_TITLE_CHARACTERS)


class SamplingSerializer(serializers.Serializer[Any]):
    temperature = StrictFloatField(required=False, allow_null=True, min_value=0, max_value=2)
    max_tokens = StrictIntegerField(required=False, allow_null=True, min_value=1, max_value=4096)
    top_k = StrictIntegerField(required=False, allow_null=True, min_value=0, max_value=200)
    thinking_mode = StrictBooleanField(
        required=False,
        allow_null=True,
        help_text="Use THINKING_PROMPT instead of SYSTEM_PROMPT. The system prompt of an assistant is not replaced.",
    )
    force_web_search = StrictBooleanField(
        required=False, allow_null=True, help_text="Ask the inference service to search the web, if it supports that."
    )
    stream = StrictBooleanField(required=False, help_text="false: return the finished message as JSON instead of a stream.")

    when_busy = StrictChoiceField(
        choices=["reject", "interrupt"],
        required=False,
        allow_null=True,
        help_text="What to do if a reply is running. `reject`: answer 409. `interrupt`: stop it, keep its text, and send. "
        "Default: interrupt a reply that no client follows, unless a client asked for it in the background; otherwise 409.",
    )

    def sampling(self) -> Sampling:
        chosen = self.validated_data
        return Sampling(
            temperature=chosen.get("temperature"),
            max_tokens=chosen.get("max_tokens"),
            top_k=chosen.get("top_k"),
            thinking_mode=bool(chosen.get("thinking_mode")),
            force_web_search=bool(chosen.get("force_web_search")),
        )


class SendSerializer(SamplingSerializer):
    content = StrictCharField(max_length=MAX_CONTENT_CHARACTERS)


class SwapSerializer(serializers.Serializer[Any]):
    model_tag = StrictCharField(max_length=100)


# --- Responses, for the OpenAPI description. `row_shapes` and the views write them ----------------------------------------


class ConversationSchema(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    user_id = serializers.UUIDField(allow_null=True)
    title = serializers.CharField()
    model_tag = serializers.CharField(allow_blank=True)
    is_favorited = serializers.BooleanField()
    assistant_id = serializers.UUIDField(allow_null=True)
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField(help_text="Time of the last turn.")
    running_message_id = serializers.UUIDField(
        allow_null=True, help_text="The running reply, or null. Follow it at `/messages/{running_message_id}/stream`."
    )

    class Meta:
        ref_name = "Conversation"


class MessageSchema(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    conversation_id = serializers.UUIDField()
    role = serializers.ChoiceField(choices=Role.values)
    content = serializers.CharField(allow_blank=True)
    token_count = serializers.IntegerField(min_value=0)
    model_tag = serializers.CharField(allow_blank=True)
    inference_time_ms = serializers.IntegerField(min_value=0)
    created_at = serializers.DateTimeField()
    status = serializers.ChoiceField(choices=Status.values)
    parent_id = serializers.UUIDField(
        allow_null=True,
        help_text="For a reply: the user message that it answers. For an edited message: its first version.",
    )
    is_active = serializers.BooleanField(help_text="Whether the message is on the active branch.")
    error_code = serializers.CharField(allow_null=True)
    feedback = serializers.IntegerField(allow_null=True, min_value=-1, max_value=1)

    class Meta:
        ref_name = "Message"


class ContextSchema(serializers.Serializer[Any]):
    messages = serializers.IntegerField(
        min_value=1, help_text="Number of messages that the model received, without the system prompt."
    )
    characters = serializers.IntegerField(
        min_value=0, help_text="Their total length in characters, including the system prompt."
    )
    left_out = serializers.IntegerField(
        min_value=0, help_text="Number of older messages that the model did not receive, up to 1,000."
    )
    reason = serializers.ChoiceField(
        choices=["messages", "characters", "unanswered"],
        allow_null=True,
        help_text="Why messages were left out. `messages` or `characters`: that limit was reached. `unanswered`: only failed "
        "replies and questions without a usable answer were left out. Null: none were left out.",
    )
    system_prompt_left_out = serializers.IntegerField(
        min_value=1,
        required=False,
        help_text="Number of characters cut from the system prompt, because the inference service limits its length.",
    )

    class Meta:
        ref_name = "Context"


class MessageDetailSchema(MessageSchema):
    context = ContextSchema(allow_null=True, help_text="For a reply: the part of the conversation that the model received.")

    class Meta:
        ref_name = "MessageDetail"


@extend_schema_serializer(many=False)
class ConversationListSchema(serializers.Serializer[Any]):
    items = ConversationSchema(many=True)
    grouped = serializers.DictField(
        child=ConversationSchema(many=True), help_text="The items, grouped by the day of `updated_at`."
    )
    limit = serializers.IntegerField()
    offset = serializers.IntegerField()
    next = serializers.CharField(allow_null=True, help_text="Pass it as `cursor` to get the next page. Null on the last page.")


class ConversationDetailSchema(ConversationSchema):
    messages = MessageSchema(many=True)
    next = serializers.CharField(
        allow_null=True, help_text="Pass it as `cursor` to get older messages. Null if there are none."
    )

    class Meta:
        ref_name = "ConversationDetail"


@extend_schema_serializer(many=False)
class MessageListSchema(serializers.Serializer[Any]):
    items = MessageSchema(many=True)
    limit = serializers.IntegerField()
    next = serializers.CharField(allow_null=True, help_text="Pass it as `cursor` to get older messages. Null on the last page.")


class ModelSchema(serializers.Serializer[Any]):
    model_tag = serializers.CharField()
    source = serializers.CharField(allow_blank=True)
    path = serializers.CharField(allow_blank=True)
    loaded = serializers.BooleanField()


class ModelListSchema(serializers.Serializer[Any]):
    current_model = serializers.CharField(allow_null=True)
    models = ModelSchema(many=True)


class SwapAnswerSchema(serializers.Serializer[Any]):
    status = serializers.CharField()
    current_model = serializers.CharField(allow_null=True)


class HealthSchema(serializers.Serializer[Any]):
    status = serializers.CharField()
    ready = serializers.BooleanField()
    service = serializers.CharField()


class ReadinessSchema(serializers.Serializer[Any]):
    status = serializers.CharField()
    ready = serializers.BooleanField()
    checks = serializers.DictField(child=serializers.CharField())
