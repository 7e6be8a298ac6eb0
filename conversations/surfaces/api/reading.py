"""What the primary surface's views read: pages of conversations and of messages."""

from collections import defaultdict
from datetime import date, datetime
from functools import cache
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo, available_timezones

from django.http import QueryDict
from rest_framework.exceptions import ValidationError

from conversations.exceptions import ConversationNotFound, MessageNotFound
from conversations.message_batches import select_batch
from conversations.models import Conversation, Message
from conversations.prepared_reads import PreparedRead, Rows
from conversations.querysets import ConversationQuerySet, MessageQuerySet
from conversations.surfaces.api.serializers import (
    CONVERSATION_COLUMNS,
    MESSAGE_COLUMNS,
    MESSAGE_DETAIL_COLUMNS,
)
from conversations.surfaces.nulls import conversation_json, message_json
from conversations.surfaces.paging import Page, message_page, read_message_page, read_page

CONVERSATIONS_CURSOR = "c"
MESSAGES_CURSOR = "m"
DEFAULT_LIMIT = 50
# What a conversation is read with where no `limit` is given.
MAX_MESSAGES = 1000


def read_conversation(conversation_id: UUID, user_id: UUID) -> dict[str, Any]:
    """Return a conversation as JSON. One query. Raises `ConversationNotFound`."""
    rows = _conversation(conversation_id=conversation_id, user_id=user_id)
    if not rows:
        raise ConversationNotFound
    return conversation_json(rows[0])


@PreparedRead
def _conversation(conversation_id: UUID, user_id: UUID) -> Rows:
    owned = Conversation.objects.visible_to(user_id).filter(id=conversation_id)
    return owned.with_running_reply().values(*CONVERSATION_COLUMNS)


def require_conversation(conversation_id: UUID, user_id: UUID) -> None:
    """Raises `ConversationNotFound` where it is not this user's."""
    if not Conversation.objects.visible_to(user_id).filter(id=conversation_id).exists():
        raise ConversationNotFound


def read_message(conversation_id: UUID, message_id: UUID) -> dict[str, Any]:
    """Return a message of a conversation as JSON, with its `context`. One query. Raises `MessageNotFound`."""
    row = Message.objects.in_conversation(conversation_id).filter(id=message_id).values(*MESSAGE_DETAIL_COLUMNS).first()
    if row is None:
        raise MessageNotFound
    return message_json(row)


def read_newest_messages(conversation_id: UUID) -> tuple[list[dict[str, Any]], str | None]:
    """Return the newest messages of a conversation's active branch, oldest first, and the cursor of older ones.

    At most MAX_MESSAGES, and MAX_BATCH_BYTES of content. One query.
    """
    page = message_page(_newest_messages(conversation_id=conversation_id), MAX_MESSAGES, MESSAGES_CURSOR)
    return _oldest_first(page), page.next


@PreparedRead
def _newest_messages(conversation_id: UUID) -> Rows:
    return select_batch(Message.objects.in_conversation(conversation_id).active_branch(), MESSAGE_COLUMNS, MAX_MESSAGES)


def read_messages(messages: MessageQuerySet, params: QueryDict) -> tuple[list[dict[str, Any]], int, str | None]:
    """Return a page of messages, oldest first, its limit, and the cursor of the page of older ones: the first is the newest."""
    page = read_message_page(messages, MESSAGE_COLUMNS, params, kind=MESSAGES_CURSOR, default=DEFAULT_LIMIT)
    return _oldest_first(page), page.limit, page.next


def _oldest_first(page: Page) -> list[dict[str, Any]]:
    return [message_json(row) for row in reversed(page.rows)]


def read_conversation_page(
    conversations: ConversationQuerySet, params: QueryDict, offset: int
) -> tuple[list[dict[str, Any]], int, str | None]:
    """Return a page of conversations, newest activity first, its limit, and the cursor of the next."""
    page = read_page(
        conversations.with_running_reply().newest_activity_first(),
        CONVERSATION_COLUMNS,
        params,
        kind=CONVERSATIONS_CURSOR,
        time_field="updated_at",
        default=DEFAULT_LIMIT,
        offset=offset,
    )
    return [conversation_json(row) for row in page.rows], page.limit, page.next


def group_by_day(items: list[dict[str, Any]], zone: ZoneInfo) -> dict[str, list[dict[str, Any]]]:
    """Group conversations by the day of their last turn, keeping their order."""
    days: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for item in items:
        days[_day_of(item["updated_at"], zone).isoformat()].append(item)
    return days


def _day_of(time: datetime, zone: ZoneInfo) -> date:
    try:
        return time.astimezone(zone).date()
    except OverflowError:
        # The first or the last day that Python knows: in that zone it would be one more.
        return time.date()


def read_zone(params: QueryDict) -> ZoneInfo:
    """Return the time zone that `?tz=` names, else UTC. Its name is never given to PostgreSQL, whose list may be another."""
    name = params.get("tz", "UTC")
    if name not in _zone_names():
        raise ValidationError({"tz": ["Must be a time zone such as Europe/Berlin."]})
    return ZoneInfo(name)


@cache
def _zone_names() -> frozenset[str]:
    # `localtime` is another zone on every machine, and Factory is none.
    return frozenset(available_timezones() - {"localtime", "Factory"})
