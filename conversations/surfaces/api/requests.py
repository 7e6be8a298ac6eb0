"""Request bodies of the primary surface."""

import unicodedata
from typing import Annotated, Any, ClassVar

from django.conf import settings
from msgspec import Meta
from rest_framework import serializers

from chatapi.api.bodies import Body
from conversations.bulk_actions import ACTIONS, MOST_IDS, TAG_ACTIONS
from conversations.ids import parse_id
from conversations.instruction_models import MAX_INSTRUCTIONS_CHARACTERS
from conversations.models import MAX_TITLE_CHARACTERS
from conversations.surfaces.request_fields import (
    BodySerializer,
    ClosedSerializer,
    StrictBooleanField,
    StrictCharField,
    StrictChoiceField,
    StrictFloatField,
    StrictIntegerField,
    choices_except,
    visible,
)
from conversations.surfaces.sampling_fields import ONLY_OPENAI, OpenAIFieldsSerializer, ResponseFormatField
from conversations.tags import MAX_TAG_CHARACTERS, MAX_TAGS, clean_tag, tags_by_key
from conversations.visible_text import is_blank
from inference_proxy.protocols.base import OPENAI_FIELDS, Sampling

TAG_PROBLEM = f"Each tag must be a text of 1 to {MAX_TAG_CHARACTERS} characters, without control characters."


class TagField(serializers.CharField):
    """A tag, trimmed and in Unicode's form NFC."""

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str) or len(data) > 10 * MAX_TAG_CHARACTERS:
            raise serializers.ValidationError(TAG_PROBLEM)
        tag = clean_tag(data)
        if is_blank(tag) or len(tag) > MAX_TAG_CHARACTERS or any(unicodedata.category(one) in ("Cc", "Cs") for one in tag):
            raise serializers.ValidationError(TAG_PROBLEM)
        return tag


class TagsField(serializers.ListField):
    """Tags. Two spellings that differ only in case are one tag."""

    child = TagField(max_length=MAX_TAG_CHARACTERS)

    def __init__(self, help_text: str = "") -> None:
        what = f"Up to {MAX_TAGS}. They are trimmed; two that differ only in case are one. {help_text}".strip()
        super().__init__(required=False, max_length=MAX_TAGS, help_text=what)

    def to_internal_value(self, data: Any) -> list[str]:
        if not isinstance(data, list):
            raise serializers.ValidationError("Must be a list of tags.")
        # Many may be one tag. More are not looked at.
        tags = list(tags_by_key(self.child.to_internal_value(tag) for tag in data[: 10 * MAX_TAGS]).values())
        if len(tags) > MAX_TAGS or len(data) > 10 * MAX_TAGS:
            raise serializers.ValidationError(f"Must have at most {MAX_TAGS} tags.")
        return tags


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
    is_archived = StrictBooleanField(required=False)
    tags = TagsField()


class ConversationPatchSerializer(BodySerializer):
    title = StrictCharField(required=False, max_length=MAX_TITLE_CHARACTERS)
    model_tag = StrictCharField(required=False, max_length=100)
    is_favorited = StrictBooleanField(required=False)
    is_archived = StrictBooleanField(
        required=False, help_text="true: only `?archived=true` lists it. Search finds it, and sends leave it archived."
    )
    tags = TagsField("They replace the ones before.")


class ConversationPutSerializer(ConversationPatchSerializer):
    title = StrictCharField(max_length=MAX_TITLE_CHARACTERS)


class ForkSerializer(BodySerializer):
    message_id = StrictCharField(
        required=False, allow_null=True, max_length=100, help_text="The last message to copy. Default: the last one."
    )
    title = StrictCharField(
        required=False, allow_null=True, max_length=MAX_TITLE_CHARACTERS, help_text="Default: the title of the original."
    )


class IdField(serializers.UUIDField):
    def to_internal_value(self, data: Any) -> Any:
        found = parse_id(data) if isinstance(data, str) else None
        if found is None:
            raise serializers.ValidationError("Must be the id of a conversation.")
        return found


class BulkFiltersSerializer(ClosedSerializer):
    favorited = StrictBooleanField(required=False)
    archived = StrictBooleanField(required=False, help_text="Default: false, as in the list; true for the action `unarchive`.")
    tag = TagField(required=False, max_length=MAX_TAG_CHARACTERS)
    q = StrictCharField(required=False, max_length=200, help_text="Text that the title contains.")


class BulkSerializer(ClosedSerializer):
    action = StrictChoiceField(choices=ACTIONS)
    ids = serializers.ListField(
        child=IdField(), required=False, max_length=MOST_IDS, help_text=f"1 to {MOST_IDS}. Either these or `all`."
    )
    all = StrictBooleanField(required=False, help_text="true: all your listed conversations that match `filters`.")
    filters = BulkFiltersSerializer(required=False, help_text="With `all`: which conversations.")
    tags = TagsField("For the actions `tag` and `untag`.")
    cursor = StrictCharField(required=False, max_length=200, help_text="With `all`: the `next` of the answer before.")

    def validate_ids(self, ids: list[Any]) -> list[Any]:
        if not ids:
            raise serializers.ValidationError("Must not be empty.")
        return list(dict.fromkeys(ids))

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        problems = {}
        if ("ids" in attrs) == attrs.get("all", False):
            problems["ids"] = ["Give either ids or all: true."]
        elif "ids" in attrs:
            problems = {name: ["Only with all: true."] for name in ("filters", "cursor") if name in attrs}
        if bool(attrs.get("tags")) != (attrs["action"] in TAG_ACTIONS):
            problems["tags"] = ["The actions tag and untag need tags, the others take none."]
        if problems:
            raise serializers.ValidationError(problems)
        return attrs


class SamplingSerializer(OpenAIFieldsSerializer):
    unsupported: ClassVar = choices_except("temperature", "max_tokens", "top_k", *OPENAI_FIELDS)

    temperature = StrictFloatField(required=False, allow_null=True, min_value=0, max_value=2)
    max_tokens = StrictIntegerField(required=False, allow_null=True, min_value=1, max_value=settings.MAX_OUTPUT_TOKENS)
    top_k = StrictIntegerField(required=False, allow_null=True, min_value=0, max_value=200)
    response_format = ResponseFormatField(required=False, allow_null=True, help_text=ONLY_OPENAI)
    model_tag = StrictCharField(
        required=False,
        allow_null=True,
        allow_blank=True,
        max_length=100,
        help_text="The model for this reply only. The conversation keeps its own.",
    )
    assistant_id = StrictCharField(
        required=False,
        allow_null=True,
        max_length=100,
        help_text="The assistant for this reply only: its prompt and its defaults. The conversation keeps its own.",
    )
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
            **self.openai_fields(),
        )


class EditSerializer(SamplingSerializer):
    content = StrictCharField(max_length=settings.MAX_MESSAGE_CHARACTERS)


class SendSerializer(EditSerializer):
    when_busy = StrictChoiceField(
        choices=["reject", "interrupt", "enqueue"],
        required=False,
        allow_null=True,
        help_text="What to do if a reply is running. `reject`: answer 409. `interrupt`: stop it, keep its text, and send. "
        "`enqueue`: wait until it has ended; up to 5 messages wait. The stream then begins when the turn comes; with `Prefer: "
        "respond-async` or as JSON, the answer is a 202 with the message that waits. Default: interrupt a reply that no client "
        "follows, unless a client asked for it in the background; otherwise 409.",
    )


class SwapSerializer(BodySerializer):
    model_tag = StrictCharField(max_length=100)


class FeedbackSerializer(BodySerializer):
    rating = StrictIntegerField(allow_null=True, min_value=-1, max_value=1, help_text="1, -1, or null to remove the rating.")
    comment = StrictCharField(required=False, allow_null=True, allow_blank=True, max_length=2000)

    def validate_rating(self, rating: int | None) -> int | None:
        if rating == 0:
            raise serializers.ValidationError("Must be 1, -1 or null.")
        return rating


class InstructionsBody(Body, forbid_unknown_fields=True):
    instructions: Annotated[str, visible(MAX_INSTRUCTIONS_CHARACTERS), Meta(description="What the model is told.")]
    is_active: Annotated[bool, Meta(description="false: keep them, and do not tell them.")] = True
