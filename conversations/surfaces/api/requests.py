"""Request bodies of the primary surface."""

import unicodedata
from typing import Annotated, Any, ClassVar
from uuid import UUID

from django.conf import settings
from msgspec import UNSET, Meta, UnsetType
from rest_framework.exceptions import ValidationError

from chatapi.api.bodies import Body
from conversations.bulk_actions import MOST_IDS, TAG_ACTIONS, Action
from conversations.ids import parse_id
from conversations.models import MAX_TITLE_CHARACTERS
from conversations.models.users import MAX_INSTRUCTIONS_CHARACTERS
from conversations.surfaces.function_tools import TOOL_FIELDS, ToolsBody
from conversations.surfaces.request_fields import RefusingBody, choices_except, choices_of_creation, visible
from conversations.surfaces.sampling_fields import ONLY_OPENAI, ResponseFormat
from conversations.tags import MAX_TAG_CHARACTERS, MAX_TAGS, clean_tag, tags_by_key
from conversations.visible_text import is_blank
from conversations.when_busy import NoWaiting, WhenBusy
from inference_proxy.protocols.base import OPENAI_FIELDS, Sampling

TAG_PROBLEM = f"Each tag must be a text of 1 to {MAX_TAG_CHARACTERS} characters, without control characters."


def _read_tag(given: Any) -> str:
    """Read a tag: trimmed, and in Unicode's form NFC."""
    if not isinstance(given, str) or len(given) > 10 * MAX_TAG_CHARACTERS:
        raise ValidationError([TAG_PROBLEM])
    tag = clean_tag(given)
    if is_blank(tag) or len(tag) > MAX_TAG_CHARACTERS or any(unicodedata.category(one) in ("Cc", "Cs") for one in tag):
        raise ValidationError([TAG_PROBLEM])
    return tag


def _read_tags(given: Any) -> list[str]:
    """Read tags. Two spellings that differ only in case are one tag."""
    if not isinstance(given, list):
        raise ValidationError(["Must be a list of tags."])
    # Many may be one tag. More are not looked at.
    found = list(tags_by_key(_read_tag(tag) for tag in given[: 10 * MAX_TAGS]).values())
    if len(found) > MAX_TAGS or len(given) > 10 * MAX_TAGS:
        raise ValidationError([f"Must have at most {MAX_TAGS} tags."])
    return found


def _read_ids(given: Any) -> list[UUID]:
    if not isinstance(given, list) or not 1 <= len(given) <= MOST_IDS:
        raise ValidationError([f"Must be a list of 1 to {MOST_IDS} ids."])
    found = [parse_id(each) if isinstance(each, str) else None for each in given]
    if None in found:
        raise ValidationError(["Each must be the id of a conversation."])
    return list(dict.fromkeys(filter(None, found)))


def _refuse_zero(rating: int) -> int:
    if rating == 0:
        raise ValidationError(["Must be 1, -1 or null."])
    return rating


Tag = Annotated[str, Meta(min_length=1, max_length=MAX_TAG_CHARACTERS, extra={"read": _read_tag})]
Title = Annotated[str, visible(MAX_TITLE_CHARACTERS)]
ModelTag = Annotated[str, visible(100)]
Ids = Annotated[list[UUID], Meta(max_length=MOST_IDS, extra={"read": _read_ids})]
# Empty: the model that would be used without it.
AnyModelTag = Annotated[str, Meta(max_length=100)]
# An id. A text of another form names nothing, so it is a 404 and no invalid field.
AnyId = Annotated[str, visible(100)]


def tag_rules(more: str = "") -> Meta:
    """Return the rules of a list of tags."""
    what = f"Up to {MAX_TAGS}. They are trimmed; two that differ only in case are one. {more}".strip()
    return Meta(max_length=MAX_TAGS, description=what, extra={"read": _read_tags})


class ConversationCreateBody(RefusingBody):
    unsupported: ClassVar = choices_of_creation()

    title: Annotated[
        Annotated[str, Meta(max_length=MAX_TITLE_CHARACTERS)] | None,
        Meta(description='With null, "" or a placeholder such as "New chat", the first message names the conversation.'),
    ] = None
    model_tag: Annotated[AnyModelTag | None, Meta(description='null or "": the default model.')] = None
    assistant_id: AnyId | None = None
    temporary: Annotated[bool, Meta(description="Not listed, and no longer available 24 hours after its last turn.")] = False
    is_archived: bool | UnsetType = UNSET
    tags: Annotated[list[Tag], tag_rules()] | UnsetType = UNSET


class ConversationPatchBody(Body):
    title: Title | UnsetType = UNSET
    model_tag: ModelTag | UnsetType = UNSET
    is_favorited: bool | UnsetType = UNSET
    is_archived: Annotated[
        bool | UnsetType,
        Meta(description="true: only `?archived=true` lists it. Search finds it, and sends leave it archived."),
    ] = UNSET
    tags: Annotated[list[Tag], tag_rules("They replace the ones before.")] | UnsetType = UNSET


class ConversationPutBody(ConversationPatchBody, kw_only=True):
    title: Title


class ForkBody(Body):
    message_id: Annotated[AnyId | None, Meta(description="The last message to copy. Default: the last one.")] = None
    title: Annotated[Title | None, Meta(description="Default: the title of the original.")] = None


class BulkFiltersBody(Body, forbid_unknown_fields=True):
    favorited: bool | UnsetType = UNSET
    archived: Annotated[
        bool | UnsetType, Meta(description="Default: false, as in the list; true for the action `unarchive`.")
    ] = UNSET
    tag: Tag | UnsetType = UNSET
    q: Annotated[Annotated[str, visible(200)] | UnsetType, Meta(description="Text that the title contains.")] = UNSET


class BulkBody(Body, forbid_unknown_fields=True):
    action: Action
    ids: Annotated[Ids | UnsetType, Meta(description=f"1 to {MOST_IDS}. Either these or `all`.")] = UNSET
    all: Annotated[bool, Meta(description="true: all your listed conversations that match `filters`.")] = False
    filters: Annotated[BulkFiltersBody, Meta(description="With `all`: which conversations.")] | UnsetType = UNSET
    tags: Annotated[list[Tag], tag_rules("For the actions `tag` and `untag`.")] | UnsetType = UNSET
    cursor: Annotated[
        Annotated[str, visible(200)] | UnsetType, Meta(description="With `all`: the `next` of the answer before.")
    ] = UNSET

    def check(self) -> None:
        problems = {}
        if (self.ids is not UNSET) == self.all:
            problems["ids"] = ["Give either ids or all: true."]
        elif self.ids is not UNSET:
            given = {"filters": self.filters, "cursor": self.cursor}
            problems = {name: ["Only with all: true."] for name, value in given.items() if value is not UNSET}
        if bool(self.tags) != (self.action in TAG_ACTIONS):
            problems["tags"] = ["The actions tag and untag need tags, the others take none."]
        if problems:
            raise ValidationError(problems)


class TurnBody(ToolsBody):
    unsupported: ClassVar = choices_except("temperature", "max_tokens", "top_k", *OPENAI_FIELDS, *TOOL_FIELDS)

    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    max_tokens: Annotated[int, Meta(ge=1, le=settings.MAX_OUTPUT_TOKENS)] | None = None
    top_k: Annotated[int, Meta(ge=0, le=200)] | None = None
    response_format: Annotated[ResponseFormat | None, Meta(description=ONLY_OPENAI)] = None
    model_tag: Annotated[
        AnyModelTag | None, Meta(description="The model for this reply only. The conversation keeps its own.")
    ] = None
    assistant_id: Annotated[
        AnyId | None,
        Meta(description="The assistant for this reply only: its prompt and its defaults. The conversation keeps its own."),
    ] = None
    thinking_mode: Annotated[
        bool | None,
        Meta(description="Use THINKING_PROMPT instead of SYSTEM_PROMPT. The system prompt of an assistant is not replaced."),
    ] = None
    force_web_search: Annotated[
        bool | None, Meta(description="Ask the inference service to search the web, if it supports that.")
    ] = None
    stream: Annotated[bool | UnsetType, Meta(description="false: return the finished message as JSON instead of a stream.")] = (
        UNSET
    )

    def sampling(self) -> Sampling:
        return Sampling(
            temperature=self.temperature,
            max_tokens=self.max_tokens,
            top_k=self.top_k,
            thinking_mode=bool(self.thinking_mode),
            force_web_search=bool(self.force_web_search),
            **self.openai_fields(),
            # An edit, a regeneration or a continuation without a choice has the tools of the answer before.
            tools={} if self.tool_choice == "none" else self.offered(),
        )


class SamplingBody(TurnBody):
    when_busy: Annotated[
        NoWaiting | None,
        Meta(
            description="What to do if a reply is running. `reject`: answer 409. `interrupt`: stop it, keep its text, and "
            "send. Default: interrupt a reply that no client follows, unless a client asked for it in the background; "
            "otherwise 409."
        ),
    ] = None


class EditBody(SamplingBody, kw_only=True):
    content: Annotated[str, visible(settings.MAX_MESSAGE_CHARACTERS)]


class SendBody(TurnBody, kw_only=True):
    content: Annotated[str, visible(settings.MAX_MESSAGE_CHARACTERS)]
    when_busy: Annotated[
        WhenBusy | None,
        Meta(
            description="What to do if a reply is running. `reject`: answer 409. `interrupt`: stop it, keep its text, and "
            "send. `enqueue`: wait until it has ended; up to 5 messages wait. The stream then begins when the turn comes; with "
            "`Prefer: respond-async` or as JSON, the answer is a 202 with the message that waits. Default: interrupt a reply "
            "that no client follows, unless a client asked for it in the background; otherwise 409."
        ),
    ] = None


class SwapBody(Body):
    model_tag: ModelTag


class FeedbackBody(Body):
    rating: Annotated[
        Annotated[int, Meta(ge=-1, le=1, extra={"then": _refuse_zero})] | None,
        Meta(description="1, -1, or null to remove the rating."),
    ]
    comment: Annotated[str, Meta(max_length=2000)] | None = None


class InstructionsBody(Body, forbid_unknown_fields=True):
    instructions: Annotated[str, visible(MAX_INSTRUCTIONS_CHARACTERS), Meta(description="What the model is told.")]
    is_active: Annotated[bool, Meta(description="false: they are kept, and the model is not told.")] = True
