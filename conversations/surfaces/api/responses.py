"""Response bodies of the primary surface."""

from collections import defaultdict
from datetime import date, datetime
from typing import Annotated, Any, ClassVar
from zoneinfo import ZoneInfo

from drf_spectacular.utils import extend_schema_serializer
from msgspec import Meta, Struct
from rest_framework import serializers

from conversations.keyset import encode_cursor
from conversations.models import DEFAULT_TITLE, Role, Status
from conversations.surfaces.responses import RowSchema

BULK_CURSOR = "b"
# The status of a message that waits for its turn. It is no row of `messages` yet.
QUEUED = "queued"


class ConversationSchema(RowSchema):
    id = serializers.UUIDField()
    user_id = serializers.UUIDField(allow_null=True)
    title = serializers.CharField(initial=DEFAULT_TITLE)
    model_tag = serializers.CharField(allow_blank=True)
    is_favorited = serializers.BooleanField()
    is_archived = serializers.BooleanField(help_text="true: only `?archived=true` lists it. Sends leave it archived.")
    tags = serializers.ListField(child=serializers.CharField())
    assistant_id = serializers.UUIDField(allow_null=True)
    name = serializers.CharField(
        source="session_id",
        allow_null=True,
        help_text="The id that a client chose for it, as a chat of `/api/chat` or a session. Null: none.",
    )
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField(help_text="Time of the last turn.")
    forked_from = serializers.UUIDField(allow_null=True, help_text="The conversation that this one is a copy of, if it is one.")
    deleted_at = serializers.DateTimeField(allow_null=True, help_text="When it was put in the trash. Null: it was not.")
    # Not a column: `ConversationQuerySet.with_running_reply` adds it.
    running_message_id = serializers.UUIDField(
        allow_null=True, help_text="The running reply, or null. Follow it at `/messages/{running_message_id}/stream`."
    )

    class Meta:
        ref_name = "Conversation"


class MessageSchema(RowSchema):
    id = serializers.UUIDField()
    conversation_id = serializers.UUIDField()
    role = serializers.ChoiceField(choices=Role.values)
    content = serializers.CharField(allow_blank=True)
    token_count = serializers.IntegerField(min_value=0)
    model_tag = serializers.CharField(allow_blank=True)
    inference_time_ms = serializers.IntegerField(min_value=0)
    created_at = serializers.DateTimeField()
    status = serializers.ChoiceField(
        choices=[*Status.values, QUEUED],
        help_text="`queued`: the message waits until a reply has ended. Follow its reply at `/messages/{reply_id}/stream`.",
    )
    parent_id = serializers.UUIDField(
        allow_null=True,
        help_text="For a reply: the user message that it answers. For an edited message: its first version.",
    )
    follows_id = serializers.UUIDField(
        allow_null=True,
        help_text="For a user message: the message that it follows, usually a reply. Null: the first one, or an old one, which "
        "follows the one before it.",
    )
    # `queries` counts them, where the column says that there are several.
    version = serializers.IntegerField(
        source="has_versions",
        min_value=1,
        help_text="Which of the versions of a user message, or of the answers to it, this is.",
    )
    versions = serializers.IntegerField(source="has_versions", min_value=1, help_text="How many there are.")
    # Only `queries` knows it: it is no column of messages.
    reply_id = serializers.UUIDField(
        source="has_versions", allow_null=True, help_text="For a message that waits: the id that its reply will have."
    )
    is_active = serializers.BooleanField(help_text="Whether the message is on the active branch.")
    error_code = serializers.CharField(allow_null=True)
    feedback = serializers.IntegerField(allow_null=True, min_value=-1, max_value=1)
    reasoning = serializers.CharField(allow_blank=True, help_text="What the model thought before its answer. Empty: nothing.")
    finish_reason = serializers.CharField(
        allow_blank=True, help_text="Why the model ended, in its own word, such as `stop` or `length`. Empty: unknown."
    )

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
        choices=["messages", "characters", "refused", "unanswered"],
        allow_null=True,
        help_text="Why messages were left out. `messages` or `characters`: that limit was reached. `refused`: a question that "
        "the model's provider refused for its content. `unanswered`: only answers without a question. Null: nothing "
        "was left out.",
    )
    system_prompt_left_out = serializers.IntegerField(
        min_value=1,
        required=False,
        help_text="Number of characters cut from the system prompt, because the inference service limits its length.",
    )
    instructions = serializers.IntegerField(
        min_value=1,
        required=False,
        help_text="Number of characters of the request's own instructions, which follow the system prompt.",
    )
    own_instructions = serializers.IntegerField(
        min_value=1,
        required=False,
        help_text="Number of characters of the user's own instructions, which come between both.",
    )
    restarted = serializers.BooleanField(
        required=False,
        help_text="True if a request with a repeated Idempotency-Key began this reply, because an earlier one came to nothing.",
    )

    class Meta:
        ref_name = "Context"


class MessageDetailSchema(MessageSchema):
    # mypy takes it for an attribute of DRF's fields, but DRF collects declared fields before it makes the class.
    context = ContextSchema(  # type: ignore[assignment]
        allow_null=True, help_text="For a reply: the part of the conversation that the model received."
    )

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


class LeftOutSchema(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    code = serializers.ChoiceField(
        choices=["not_found", "too_many_tags"], help_text="`too_many_tags`: it would have more than 20. It has those of before."
    )

    class Meta:
        ref_name = "LeftOut"


class BulkAnswerSchema(serializers.Serializer[Any]):
    action = serializers.CharField()
    changed = serializers.IntegerField(min_value=0)
    unchanged = serializers.IntegerField(min_value=0, help_text="Conversations that were so already.")
    left_out = LeftOutSchema(many=True, help_text="Up to 200 conversations that could not be changed.")
    left_out_count = serializers.IntegerField(min_value=0)
    next = serializers.CharField(
        allow_null=True,
        help_text="With `all`: not null if there may be more. Pass it as `cursor` in the same request to go on.",
    )

    class Meta:
        ref_name = "BulkAnswer"


def bulk_answer(action: str, result: Any) -> dict[str, Any]:
    """Return the JSON of a `BulkResult`."""
    return {
        "action": action,
        "changed": result.changed,
        "unchanged": result.unchanged,
        "left_out": [{"id": one, "code": code} for one, code in result.left_out.items()],
        "left_out_count": result.left_out_count,
        "next": result.last and encode_cursor(BULK_CURSOR, result.last),
    }


class TagSchema(serializers.Serializer[Any]):
    tag = serializers.CharField(help_text="As it is written in the conversation with the newest activity.")
    count = serializers.IntegerField(min_value=0, help_text="Conversations that `?tag=` lists.")
    archived_count = serializers.IntegerField(min_value=0, help_text="Those that `?tag=&archived=true` lists.")

    class Meta:
        ref_name = "Tag"


@extend_schema_serializer(many=False)
class TagListSchema(serializers.Serializer[Any]):
    items = TagSchema(many=True, help_text="In alphabetical order: the 1,000 most frequent ones.")


class ConversationDetailSchema(ConversationSchema):
    messages = MessageSchema(many=True)
    next = serializers.CharField(
        allow_null=True, help_text="Pass it as `cursor` to get older messages. Null if there are none."
    )

    class Meta:
        ref_name = "ConversationDetail"


class TicketSchema(serializers.Serializer[Any]):
    ticket = serializers.CharField(help_text="Pass it as `?ticket=` to `/stream`, instead of the Authorization header.")
    expires_in = serializers.IntegerField(min_value=1, help_text="Seconds. A stream that has begun continues after that.")

    class Meta:
        ref_name = "Ticket"


@extend_schema_serializer(many=False)
class MessageListSchema(serializers.Serializer[Any]):
    items = MessageSchema(many=True)
    limit = serializers.IntegerField()
    next = serializers.CharField(allow_null=True, help_text="Pass it as `cursor` to get older messages. Null on the last page.")


class ModelSchema(serializers.Serializer[Any]):
    model_tag = serializers.CharField()
    # As with `context` above
    source = serializers.CharField(allow_blank=True)  # type: ignore[assignment]
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
    version = serializers.CharField()


class ReadinessSchema(serializers.Serializer[Any]):
    status = serializers.CharField()
    ready = serializers.BooleanField()
    checks = serializers.DictField(child=serializers.CharField())


class AssistantSchema(RowSchema):
    id = serializers.UUIDField()
    name = serializers.CharField()
    description = serializers.CharField(allow_blank=True)
    model_tag = serializers.CharField(allow_blank=True, help_text="Empty: the model of the conversation.")
    requires_authentication = serializers.BooleanField(
        help_text="false: anonymous callers may use it too, if ALLOW_ANONYMOUS is on."
    )

    class Meta:
        ref_name = "Assistant"


@extend_schema_serializer(many=False)
class AssistantListSchema(serializers.Serializer[Any]):
    items = AssistantSchema(many=True)


# A field cannot be declared by the name `in`, which is a word of Python.
FOUND_IN = serializers.ChoiceField(choices=["message", "title"], source="found_in", help_text="What was found.")
FoundSchema: Any = type("FoundSchema", (RowSchema,), {"in": FOUND_IN})


class HitSchema(FoundSchema):  # type: ignore[misc]
    message_id = serializers.UUIDField(allow_null=True, help_text="Null for a title.")
    conversation_id = serializers.UUIDField()
    conversation_title = serializers.CharField(initial=DEFAULT_TITLE)
    role = serializers.ChoiceField(choices=Role.values, allow_null=True, help_text="Null for a title.")
    created_at = serializers.DateTimeField(help_text="For a title: the time of the last turn.")
    snippet = serializers.CharField(allow_blank=True, help_text="Escaped for HTML. Matches are inside `<mark>`.")

    class Meta:
        ref_name = "Hit"


@extend_schema_serializer(many=False)
class HitListSchema(serializers.Serializer[Any]):
    items = HitSchema(many=True)
    limit = serializers.IntegerField()
    next = serializers.CharField(allow_null=True, help_text="Pass it as `cursor` to get more hits. Null if there are no more.")


class UsageSchema(serializers.Serializer[Any]):
    messages = serializers.IntegerField(min_value=0, help_text="Messages that the user sent.")
    replies = serializers.IntegerField(min_value=0)
    tokens = serializers.IntegerField(min_value=0, help_text="Tokens of the replies.")
    prompt_tokens = serializers.IntegerField(
        min_value=0, help_text="Tokens of the prompts. 0 if the model does not report them."
    )
    inference_time_ms = serializers.IntegerField(min_value=0)

    class Meta:
        ref_name = "Usage"


class DayUsageSchema(UsageSchema):
    date = serializers.DateField()

    class Meta:
        ref_name = "DayUsage"


class AllowanceSchema(serializers.Serializer[Any]):
    limit = serializers.IntegerField(min_value=1, help_text="Tokens of replies.")
    used = serializers.IntegerField(min_value=0, help_text="Running replies count when they end, so it can exceed the limit.")
    resets_at = serializers.DateTimeField()

    class Meta:
        ref_name = "Allowance"


class QuotaSchema(serializers.Serializer[Any]):
    day = AllowanceSchema(allow_null=True, help_text="The current day (UTC). Null: no limit.")
    month = AllowanceSchema(allow_null=True, help_text="The current month (UTC). Null: no limit.")

    class Meta:
        ref_name = "Quota"


class UsageReportSchema(serializers.Serializer[Any]):
    days = DayUsageSchema(many=True, help_text="Every day, oldest first.")
    total = UsageSchema()
    quota = QuotaSchema(allow_null=True, help_text="How many tokens you may use. Null: no limit.")


class UserSchema(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    email = serializers.CharField(allow_blank=True)
    name = serializers.CharField(allow_blank=True)
    is_admin = serializers.BooleanField()
    first_seen_at = serializers.DateTimeField(allow_null=True)
    last_seen_at = serializers.DateTimeField(allow_null=True)
    conversations = serializers.IntegerField(min_value=0, max_value=10_000, help_text="10,000 means 10,000 or more.")
    messages = serializers.IntegerField(min_value=0, max_value=10_000, help_text="10,000 means 10,000 or more.")
    conversation_count = serializers.IntegerField(min_value=0, max_value=10_000, help_text="The same as `conversations`.")
    message_count = serializers.IntegerField(min_value=0, max_value=10_000, help_text="The same as `messages`.")
    provider = serializers.CharField(
        allow_blank=True, help_text="From the predecessor's table of users. Empty without that table."
    )
    created_at = serializers.DateTimeField(allow_null=True, help_text="From the predecessor's table of users.")
    last_login_at = serializers.DateTimeField(allow_null=True, help_text="From the predecessor's table of users.")

    class Meta:
        ref_name = "User"


class TotalsSchema(serializers.Serializer[Any]):
    users = serializers.IntegerField(min_value=0)
    conversations = serializers.IntegerField(min_value=0)
    messages = serializers.IntegerField(min_value=0)
    estimated = serializers.BooleanField(
        help_text="true: the tables are too large to count, so the totals are PostgreSQL's estimates."
    )


@extend_schema_serializer(many=False)
class UserListSchema(serializers.Serializer[Any]):
    items = UserSchema(many=True)
    totals = TotalsSchema()
    limit = serializers.IntegerField()
    next = serializers.CharField(allow_null=True)


def group_by_day(items: list[dict[str, Any]], zone: ZoneInfo) -> dict[str, list[dict[str, Any]]]:
    """Group conversations by the day of their last turn, in the same order."""
    days: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for item in items:
        days[_day_of(item["updated_at"], zone).isoformat()].append(item)
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
