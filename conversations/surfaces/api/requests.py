"""Request bodies of the primary surface."""

from typing import ClassVar

from django.conf import settings
from rest_framework import serializers

from conversations.models import MAX_TITLE_CHARACTERS
from conversations.surfaces.request_fields import (
    BodySerializer,
    StrictBooleanField,
    StrictCharField,
    StrictChoiceField,
    StrictFloatField,
    StrictIntegerField,
    UnsupportedField,
    choices_except,
)
from inference_proxy.protocols.base import Sampling


class ConversationCreateSerializer(BodySerializer):
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


class ConversationPatchSerializer(BodySerializer):
    title = StrictCharField(required=False, max_length=MAX_TITLE_CHARACTERS)
    model_tag = StrictCharField(required=False, max_length=100)
    is_favorited = StrictBooleanField(required=False)
    is_archived = UnsupportedField("Not supported: only false is accepted.")


class ConversationPutSerializer(ConversationPatchSerializer):
    title = StrictCharField(max_length=MAX_TITLE_CHARACTERS)


class ForkSerializer(BodySerializer):
    message_id = StrictCharField(
        required=False, allow_null=True, max_length=100, help_text="The last message to copy. Default: the last one."
    )
    title = StrictCharField(
        required=False, allow_null=True, max_length=MAX_TITLE_CHARACTERS, help_text="Default: the title of the original."
    )


class SamplingSerializer(BodySerializer):
    unsupported: ClassVar = choices_except("temperature", "max_tokens", "top_k")

    temperature = StrictFloatField(required=False, allow_null=True, min_value=0, max_value=2)
    max_tokens = StrictIntegerField(required=False, allow_null=True, min_value=1, max_value=settings.MAX_OUTPUT_TOKENS)
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
    content = StrictCharField(max_length=settings.MAX_MESSAGE_CHARACTERS)


class SwapSerializer(BodySerializer):
    model_tag = StrictCharField(max_length=100)


class FeedbackSerializer(BodySerializer):
    rating = StrictIntegerField(allow_null=True, min_value=-1, max_value=1, help_text="1, -1, or null to remove the rating.")
    comment = StrictCharField(required=False, allow_null=True, allow_blank=True, max_length=2000)

    def validate_rating(self, rating: int | None) -> int | None:
        if rating == 0:
            raise serializers.ValidationError("Must be 1, -1 or null.")
        return rating
