"""Conversations, lists of them, what changes in them, and their tags."""

from collections import defaultdict
from datetime import UTC, date, datetime
from typing import Annotated, Any, ClassVar, Literal
from uuid import UUID
from zoneinfo import ZoneInfo

from msgspec import Meta, Struct, field

from chatapi.api.rows import Row
from conversations.keyset import encode_cursor
from conversations.models import DEFAULT_TITLE
from conversations.surfaces.api.responses.messages import MessageSchema

BULK_CURSOR = "b"


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


class ConversationDetailSchema(ConversationSchema):
    ref_name: ClassVar = "ConversationDetail"
    computed: ClassVar = ("messages", "next")

    messages: list[MessageSchema]
    next: Annotated[str | None, Meta(description="Pass it as `cursor` to get older messages. Null if there are none.")]


class ConversationListSchema(Struct):
    items: list[ConversationSchema]
    grouped: Annotated[dict[str, list[ConversationSchema]], Meta(description="The items, grouped by the day of `updated_at`.")]
    limit: int
    offset: int
    next: Annotated[str | None, Meta(description="Pass it as `cursor` to get the next page. Null on the last page.")]


def group_by_day(items: list[ConversationSchema], zone: ZoneInfo) -> dict[str, list[ConversationSchema]]:
    """Group conversations by the day of their last turn, in the same order."""
    days: dict[str, list[ConversationSchema]] = defaultdict(list)
    last: date | None = None
    for item in items:
        if (day := _day_of(item.updated_at, zone)) != last:
            last, of_day = day, days[day.isoformat()]
        of_day.append(item)
    return days


def _day_of(time: datetime, zone: ZoneInfo) -> date:
    # The usual zone. All times are read in UTC, and moving them takes longer than making their JSON.
    if zone.key == "UTC" and time.tzinfo is UTC:
        return time.date()
    try:
        return time.astimezone(zone).date()
    except OverflowError:
        # In that zone, the time is before the first or after the last day that Python knows.
        return time.date()


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
            description="`too_many_tags`: it would have more than 20. Its tags stay as they were. `on_hold`: it must be kept "
            "for a legal reason, so it was not deleted."
        ),
    ]


class BulkResponseSchema(Struct):
    ref_name: ClassVar = "BulkAnswer"

    action: str
    changed: Annotated[int, Meta(ge=0)]
    unchanged: Annotated[int, Meta(ge=0, description="Conversations that needed no change.")]
    left_out: Annotated[list[LeftOutSchema], Meta(description="Up to 200 conversations that could not be changed.")]
    left_out_count: Annotated[int, Meta(ge=0)]
    next: Annotated[
        str | None,
        Meta(description="With `all`: not null if there may be more. Pass it as `cursor` in the same request to go on."),
    ]


def bulk_response(action: str, result: Any) -> BulkResponseSchema:
    """Return the response for a `BulkResult`."""
    return BulkResponseSchema(
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
