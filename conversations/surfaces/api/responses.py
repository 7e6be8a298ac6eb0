"""Response bodies of the primary surface."""

from collections import defaultdict
from collections.abc import Mapping
from datetime import date, datetime
from typing import Annotated, Any, ClassVar, Literal, Self
from uuid import UUID
from zoneinfo import ZoneInfo

from msgspec import UNSET, Meta, Struct, UnsetType, field

from chatapi.api.rows import Row
from conversations.keyset import encode_cursor
from conversations.models import DEFAULT_TITLE, Role
from inference_proxy.protocols.tool_calls import read_call_id, read_calls

BULK_CURSOR = "b"
# The status of a message that waits for its turn. It is no row of `messages` yet.
QUEUED = "queued"
# The role of outputs of tools, see `Message.tool_calls`.
TOOL: Literal["tool"] = "tool"


class ConversationSchema(Row):
    ref_name: ClassVar = "Conversation"

    id: UUID
    user_id: UUID | None
    title: Annotated[str, Meta(extra={"empty": DEFAULT_TITLE})]
    model_tag: str
    is_favorited: bool
    is_archived: Annotated[bool, Meta(description="true: only `?archived=true` lists it. Sends leave it archived.")]
    tags: list[str]
    assistant_id: UUID | None
    session_id: Annotated[
        str | None,
        Meta(description="The id that a client chose for it, as a chat of `/api/chat` or a session. Null: none."),
    ] = field(name="name")
    created_at: datetime
    updated_at: Annotated[datetime, Meta(description="Time of the last turn.")]
    forked_from: Annotated[UUID | None, Meta(description="The conversation that this one is a copy of, if it is one.")]
    deleted_at: Annotated[datetime | None, Meta(description="When it was put in the trash. Null: it was not.")]
    # Not a column: `ConversationQuerySet.with_running_reply` adds it.
    running_message_id: Annotated[
        UUID | None, Meta(description="The running reply, or null. Follow it at `/messages/{running_message_id}/stream`.")
    ]


class ToolCallSchema(Struct):
    ref_name: ClassVar = "ToolCall"

    id: str
    name: str
    arguments: Annotated[str, Meta(description="JSON, as the model wrote it.")]


class MessageSchema(Row):
    ref_name: ClassVar = "Message"
    # `queries` counts the versions, where the column `has_versions` says that there are several.
    computed: ClassVar = ("version", "versions", "reply_id", "tool_call_id")

    id: UUID
    conversation_id: UUID
    role: Annotated[
        Literal["user", "assistant", "system", "tool"], Meta(description="`tool`: the content is the output of a call.")
    ]
    content: str
    token_count: Annotated[int, Meta(ge=0)]
    model_tag: str
    inference_time_ms: Annotated[int, Meta(ge=0)]
    created_at: datetime
    status: Annotated[
        Literal["streaming", "complete", "stopped", "interrupted", "failed", "queued"],
        Meta(description="`queued`: the message waits until a reply has ended. Its reply is at `/messages/{reply_id}/stream`."),
    ]
    parent_id: Annotated[
        UUID | None,
        Meta(description="For a reply: the user message that it answers. For an edited message: its first version."),
    ]
    follows_id: Annotated[
        UUID | None,
        Meta(
            description="For a user message: the message that it follows, usually a reply. Null: the first one, or an old one, "
            "which follows the one before it."
        ),
    ]
    version: Annotated[
        int, Meta(ge=1, description="Which of the versions of a user message, or of the answers to it, this is.")
    ]
    versions: Annotated[int, Meta(ge=1, description="How many there are.")]
    reply_id: Annotated[UUID | None, Meta(description="For a message that waits: the id that its reply will have.")]
    is_active: Annotated[bool, Meta(description="Whether the message is on the active branch.")]
    error_code: str | None
    feedback: Annotated[int, Meta(ge=-1, le=1)] | None
    reasoning: Annotated[str, Meta(description="What the model thought before its answer. Empty: nothing.")]
    finish_reason: Annotated[
        str, Meta(description="Why the model ended, in its own word, such as `stop` or `length`. Empty: unknown.")
    ]
    tool_calls: Annotated[
        list[ToolCallSchema], Meta(description="What the model asks its client to run. The service runs nothing.")
    ]
    tool_call_id: Annotated[str, Meta(description="Of a message of the role `tool`: the call that it is the output of.")]

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        made = super().from_row(row)
        if stored := row["tool_calls"]:
            made.tool_calls = [ToolCallSchema(*call) for call in read_calls(stored)]
            made.tool_call_id = read_call_id(stored)
            if made.tool_call_id:
                made.role = TOOL
        return made


class ContextSchema(Struct):
    ref_name: ClassVar = "Context"

    messages: Annotated[int, Meta(ge=1, description="Number of messages that the model received, without the system prompt.")]
    characters: Annotated[int, Meta(ge=0, description="Their total length in characters, including the system prompt.")]
    left_out: Annotated[int, Meta(ge=0, description="Number of older messages that the model did not receive, up to 1,000.")]
    reason: Annotated[
        Literal["messages", "characters", "refused", "unanswered"] | None,
        Meta(
            description="Why messages were left out. `messages` or `characters`: that limit was reached. `refused`: a question "
            "that the model's provider refused for its content. `unanswered`: only answers without a question. Null: nothing "
            "was left out."
        ),
    ]
    system_prompt_left_out: Annotated[
        Annotated[int, Meta(ge=1)] | UnsetType,
        Meta(description="Number of characters cut from the system prompt, because the inference service limits its length."),
    ] = UNSET
    instructions: Annotated[
        Annotated[int, Meta(ge=1)] | UnsetType,
        Meta(description="Number of characters of the request's own instructions, which follow the system prompt."),
    ] = UNSET
    own_instructions: Annotated[
        Annotated[int, Meta(ge=1)] | UnsetType,
        Meta(description="Number of characters of the user's own instructions, which come between both."),
    ] = UNSET
    restarted: Annotated[
        bool | UnsetType,
        Meta(
            description="True if a request with a repeated Idempotency-Key began this reply, because an earlier one "
            "came to nothing."
        ),
    ] = UNSET


class MessageDetailSchema(MessageSchema):
    ref_name: ClassVar = "MessageDetail"

    context: Annotated[
        ContextSchema | None, Meta(description="For a reply: the part of the conversation that the model received.")
    ]


class ConversationListSchema(Struct):
    items: list[ConversationSchema]
    grouped: Annotated[dict[str, list[ConversationSchema]], Meta(description="The items, grouped by the day of `updated_at`.")]
    limit: int
    offset: int
    next: Annotated[str | None, Meta(description="Pass it as `cursor` to get the next page. Null on the last page.")]


class ChangesSchema(Struct):
    ref_name: ClassVar = "Changes"

    conversations: Annotated[list[ConversationSchema], Meta(description="Those that were created or changed, as they are now.")]
    deleted: Annotated[
        list[UUID],
        Meta(description="Those that are gone: deleted, put in the trash, or expired. You may not have known of all of them."),
    ]
    next: Annotated[str, Meta(description="Pass it as `since` to get what changes after this.")]
    has_more: Annotated[bool, Meta(description="true: ask again at once, more has changed already.")]


class LeftOutSchema(Struct):
    ref_name: ClassVar = "LeftOut"

    id: UUID
    code: Annotated[
        Literal["not_found", "too_many_tags", "on_hold"],
        Meta(
            description="`too_many_tags`: it would have more than 20. It has those of before. `on_hold`: it must be kept for a "
            "legal reason, so it was not deleted."
        ),
    ]


class BulkAnswerSchema(Struct):
    ref_name: ClassVar = "BulkAnswer"

    action: str
    changed: Annotated[int, Meta(ge=0)]
    unchanged: Annotated[int, Meta(ge=0, description="Conversations that were so already.")]
    left_out: Annotated[list[LeftOutSchema], Meta(description="Up to 200 conversations that could not be changed.")]
    left_out_count: Annotated[int, Meta(ge=0)]
    next: Annotated[
        str | None,
        Meta(description="With `all`: not null if there may be more. Pass it as `cursor` in the same request to go on."),
    ]


def bulk_answer(action: str, result: Any) -> BulkAnswerSchema:
    """Return the answer for a `BulkResult`."""
    return BulkAnswerSchema(
        action=action,
        changed=result.changed,
        unchanged=result.unchanged,
        left_out=[LeftOutSchema(one, code) for one, code in result.left_out.items()],
        left_out_count=result.left_out_count,
        next=result.last and encode_cursor(BULK_CURSOR, result.last),
    )


class TagSchema(Struct):
    ref_name: ClassVar = "Tag"

    tag: Annotated[str, Meta(description="As it is written in the conversation with the newest activity.")]
    count: Annotated[int, Meta(ge=0, description="Conversations that `?tag=` lists.")]
    archived_count: Annotated[int, Meta(ge=0, description="Those that `?tag=&archived=true` lists.")]


class TagListSchema(Struct):
    items: Annotated[list[TagSchema], Meta(description="In alphabetical order: the 1,000 most frequent ones.")]


class ConversationDetailSchema(ConversationSchema):
    ref_name: ClassVar = "ConversationDetail"
    computed: ClassVar = ("messages", "next")

    messages: list[MessageSchema]
    next: Annotated[str | None, Meta(description="Pass it as `cursor` to get older messages. Null if there are none.")]


class TicketSchema(Struct):
    ref_name: ClassVar = "Ticket"

    ticket: Annotated[str, Meta(description="Pass it as `?ticket=` to `/stream`, instead of the Authorization header.")]
    expires_in: Annotated[int, Meta(ge=1, description="Seconds. A stream that has begun continues after that.")]


class MessageListSchema(Struct):
    items: list[MessageSchema]
    limit: int
    next: Annotated[str | None, Meta(description="Pass it as `cursor` to get older messages. Null on the last page.")]


class ModelSchema(Struct):
    model_tag: str
    source: str
    path: str
    loaded: bool


class ModelListSchema(Struct):
    current_model: str | None
    models: list[ModelSchema]


class SwapAnswerSchema(Struct):
    status: str
    current_model: str | None


class HealthSchema(Struct):
    status: str
    ready: bool
    service: str
    version: str


class ReadinessSchema(Struct):
    status: str
    ready: bool
    checks: dict[str, str]


class AssistantSchema(Row):
    ref_name: ClassVar = "Assistant"

    id: UUID
    name: str
    description: str
    model_tag: Annotated[str, Meta(description="Empty: the model of the conversation.")]
    requires_authentication: Annotated[
        bool, Meta(description="false: anonymous callers may use it too, if ALLOW_ANONYMOUS is on.")
    ]


class AssistantListSchema(Struct):
    items: list[AssistantSchema]


class HitSchema(Row):
    ref_name: ClassVar = "Hit"

    found_in: Annotated[Literal["message", "title"], Meta(description="What was found.")] = field(name="in")
    message_id: Annotated[UUID | None, Meta(description="Null for a title.")]
    conversation_id: UUID
    conversation_title: Annotated[str, Meta(extra={"empty": DEFAULT_TITLE})]
    role: Annotated[Role | None, Meta(description="Null for a title.")]
    created_at: Annotated[datetime, Meta(description="For a title: the time of the last turn.")]
    snippet: Annotated[str, Meta(description="Escaped for HTML. Matches are inside `<mark>`.")]


class HitListSchema(Struct):
    items: list[HitSchema]
    limit: int
    next: Annotated[str | None, Meta(description="Pass it as `cursor` to get more hits. Null if there are no more.")]


class UsageSchema(Struct):
    ref_name: ClassVar = "Usage"

    messages: Annotated[int, Meta(ge=0, description="Messages that the user sent.")]
    replies: Annotated[int, Meta(ge=0)]
    tokens: Annotated[int, Meta(ge=0, description="Tokens of the replies.")]
    prompt_tokens: Annotated[int, Meta(ge=0, description="Tokens of the prompts. 0 if the model does not report them.")]
    inference_time_ms: Annotated[int, Meta(ge=0)]
    cost: Annotated[float | None, Meta(description="In `currency`. Null: the cost of a part of it is not known.")]
    known_cost: Annotated[float | None, Meta(description="The cost of what is known. Null: the service knows no prices.")]


class DayUsageSchema(UsageSchema):
    ref_name: ClassVar = "DayUsage"

    date: date


class ModelUsageSchema(Struct):
    ref_name: ClassVar = "ModelUsage"

    model_tag: Annotated[
        str | None,
        Meta(description="Null: what is of no known model. It was counted by an older version, or its reply still runs."),
    ]
    replies: Annotated[int, Meta(ge=0)]
    tokens: Annotated[int, Meta(ge=0, description="Tokens of the replies.")]
    prompt_tokens: Annotated[int, Meta(ge=0, description="Tokens of the prompts. 0 if the model does not report them.")]
    inference_time_ms: Annotated[int, Meta(ge=0)]
    cost: Annotated[float | None, Meta(description="In `currency`. Null: the cost of a part of it is not known.")]
    known_cost: Annotated[float | None, Meta(description="The cost of what is known. Null: the service knows no prices.")]


class AllowanceSchema(Struct):
    ref_name: ClassVar = "Allowance"

    limit: Annotated[int, Meta(ge=1, description="Tokens of replies.")]
    used: Annotated[int, Meta(ge=0, description="Running replies count when they end, so it can exceed the limit.")]
    resets_at: datetime


class QuotaSchema(Struct):
    ref_name: ClassVar = "Quota"

    day: Annotated[AllowanceSchema | None, Meta(description="The current day (UTC). Null: no limit.")]
    month: Annotated[AllowanceSchema | None, Meta(description="The current month (UTC). Null: no limit.")]


class UsageReportSchema(Struct):
    days: Annotated[list[DayUsageSchema], Meta(description="Every day, oldest first.")]
    total: UsageSchema
    quota: Annotated[QuotaSchema | None, Meta(description="How many tokens you may use. Null: no limit.")]
    currency: Annotated[str, Meta(description="Of the costs. Empty: the service does not say.")]
    models: Annotated[
        list[ModelUsageSchema] | UnsetType,
        Meta(description="With `by=model`: all days together by model, the most tokens first."),
    ] = UNSET


class UserSchema(Struct):
    ref_name: ClassVar = "User"

    id: UUID
    email: str
    name: str
    is_admin: bool
    first_seen_at: datetime | None
    last_seen_at: datetime | None
    conversations: Annotated[int, Meta(ge=0, le=10_000, description="10,000 means 10,000 or more.")]
    messages: Annotated[int, Meta(ge=0, le=10_000, description="10,000 means 10,000 or more.")]
    conversation_count: Annotated[int, Meta(ge=0, le=10_000, description="The same as `conversations`.")]
    message_count: Annotated[int, Meta(ge=0, le=10_000, description="The same as `messages`.")]
    provider: Annotated[str, Meta(description="From the predecessor's table of users. Empty without that table.")]
    created_at: Annotated[datetime | None, Meta(description="From the predecessor's table of users.")]
    last_login_at: Annotated[datetime | None, Meta(description="From the predecessor's table of users.")]


class TotalsSchema(Struct):
    users: Annotated[int, Meta(ge=0)]
    conversations: Annotated[int, Meta(ge=0)]
    messages: Annotated[int, Meta(ge=0)]
    estimated: Annotated[
        bool, Meta(description="true: the tables are too large to count, so the totals are PostgreSQL's estimates.")
    ]


class UserListSchema(Struct):
    items: list[UserSchema]
    totals: TotalsSchema
    limit: int
    next: str | None


def group_by_day(items: list[ConversationSchema], zone: ZoneInfo) -> dict[str, list[ConversationSchema]]:
    """Group conversations by the day of their last turn, in the same order."""
    days: dict[str, list[ConversationSchema]] = defaultdict(list)
    for item in items:
        days[_day_of(item.updated_at, zone).isoformat()].append(item)
    return days


def _day_of(time: datetime, zone: ZoneInfo) -> date:
    try:
        return time.astimezone(zone).date()
    except OverflowError:
        # In that zone, the time is before the first or after the last day that Python knows.
        return time.date()


class InstructionsSchema(Struct):
    ref_name: ClassVar = "OwnInstructions"

    instructions: Annotated[str, Meta(description="Empty if there are none.")]
    is_active: bool
    updated_at: Annotated[datetime | None, Meta(description="Null if there are none.")]
