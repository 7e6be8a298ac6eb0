"""The primary surface's shapes: what requests hold, and how rows look."""

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

# The last is not a column: `ConversationQuerySet.with_running_reply` adds it.
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
        help_text='null, "" and names such as "New chat" leave it to the first message to name the conversation.',
    )
    model_tag = StrictCharField(
        required=False, allow_null=True, allow_blank=True, max_length=100, help_text='null and "": the default model.'
    )
    assistant_id = StrictCharField(required=False, allow_null=True, max_length=100)
    temporary = StrictBooleanField(required=False, default=False, help_text="Not listed, and gone a day after its last use.")


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
        required=False, allow_null=True, help_text="Put THINKING_PROMPT in place of SYSTEM_PROMPT; an assistant keeps its own."
    )
    force_web_search = StrictBooleanField(
        required=False, allow_null=True, help_text="Have the inference service search the web, where it can."
    )
    stream = StrictBooleanField(required=False, help_text="false: the finished message as JSON instead of a stream.")

    when_busy = StrictChoiceField(
        choices=["reject", "interrupt"],
        required=False,
        allow_null=True,
        help_text="Where a reply is running. reject: 409. interrupt: stop it, keep its text, go on. Without it: interrupt "
        "a reply that no client follows and that was not asked for in the background.",
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


# --- Responses: how they are documented; the functions above write them --------------------------------------------------


class ConversationSchema(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    user_id = serializers.UUIDField(allow_null=True)
    title = serializers.CharField()
    model_tag = serializers.CharField(allow_blank=True)
    is_favorited = serializers.BooleanField()
    assistant_id = serializers.UUIDField(allow_null=True)
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField(help_text="The time of the last turn.")
    running_message_id = serializers.UUIDField(
        allow_null=True, help_text="The reply that is being written: follow it at its `/stream`. Null where none is."
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
    parent_id = serializers.UUIDField(allow_null=True, help_text="Of a reply: the user message that it answers.")
    is_active = serializers.BooleanField(help_text="Whether this is the answer that counts.")
    error_code = serializers.CharField(allow_null=True)
    feedback = serializers.IntegerField(allow_null=True, min_value=-1, max_value=1)

    class Meta:
        ref_name = "Message"


class ContextSchema(serializers.Serializer[Any]):
    messages = serializers.IntegerField(min_value=1, help_text="How many messages the model saw.")
    characters = serializers.IntegerField(min_value=0, help_text="How long they were, the system prompt included.")
    left_out = serializers.IntegerField(min_value=0, help_text="How many older messages it did not see, up to 1,000.")
    reason = serializers.ChoiceField(
        choices=["messages", "characters", "unanswered"],
        allow_null=True,
        help_text="Why it did not: so many messages or characters go up; unanswered: only questions without an answer, failed "
        "replies and the like were left out. Null: nothing was.",
    )
    system_prompt_left_out = serializers.IntegerField(
        min_value=1, required=False, help_text="How many characters of the system prompt the inference service could not take."
    )

    class Meta:
        ref_name = "Context"


class MessageDetailSchema(MessageSchema):
    context = ContextSchema(allow_null=True, help_text="Of a reply: what of the conversation the model saw.")

    class Meta:
        ref_name = "MessageDetail"


@extend_schema_serializer(many=False)
class ConversationListSchema(serializers.Serializer[Any]):
    items = ConversationSchema(many=True)
    grouped = serializers.DictField(child=ConversationSchema(many=True), help_text="The items by day of `updated_at`.")
    limit = serializers.IntegerField()
    offset = serializers.IntegerField()
    next = serializers.CharField(allow_null=True, help_text="Pass as `cursor` for the next page; null on the last.")


class ConversationDetailSchema(ConversationSchema):
    messages = MessageSchema(many=True)
    next = serializers.CharField(allow_null=True, help_text="The cursor of older messages; null: there are none.")

    class Meta:
        ref_name = "ConversationDetail"


@extend_schema_serializer(many=False)
class MessageListSchema(serializers.Serializer[Any]):
    items = MessageSchema(many=True)
    limit = serializers.IntegerField()
    next = serializers.CharField(allow_null=True, help_text="The cursor of the page of older messages; null on the last.")


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
