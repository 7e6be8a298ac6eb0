"""What the primary surface's views read: pages of conversations and of messages."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from django.http import QueryDict
from rest_framework.exceptions import ValidationError

from conversations.exceptions import ConversationNotFound, MessageNotFound
from conversations.keyset import SortKey, after_key, encode_cursor, parse_id
from conversations.models import Conversation, Message
from conversations.querysets import MessageQuerySet
from conversations.surfaces.api.serializers import CONVERSATION_COLUMNS, MESSAGE_COLUMNS, conversation_json, message_json
from conversations.surfaces.paging import MAX_LIMIT, read_cursor, read_whole_number

CONVERSATIONS_CURSOR = "c"
MESSAGES_CURSOR = "m"
DEFAULT_LIMIT = 50


def require_id(value: str, missing: type[Exception]) -> UUID:
    """Return a path's id; a malformed one names nothing, so it is a 404."""
    parsed = parse_id(value)
    if parsed is None:
        raise missing
    return parsed


def read_conversation(conversation_id: UUID, user_id: UUID) -> dict[str, Any]:
    """Return a conversation as JSON. One query. Raises `ConversationNotFound`."""
    row = Conversation.objects.owned_by(user_id).filter(id=conversation_id).values(*CONVERSATION_COLUMNS).first()
    if row is None:
        raise ConversationNotFound
    return conversation_json(row)


def require_conversation(conversation_id: UUID, user_id: UUID) -> None:
    """Raises `ConversationNotFound` where it is not this user's."""
    if not Conversation.objects.owned_by(user_id).filter(id=conversation_id).exists():
        raise ConversationNotFound


def read_message(conversation_id: UUID, message_id: UUID) -> dict[str, Any]:
    """Return a message of a conversation as JSON. One query. Raises `MessageNotFound`."""
    row = Message.objects.in_conversation(conversation_id).filter(id=message_id).values(*MESSAGE_COLUMNS).first()
    if row is None:
        raise MessageNotFound
    return message_json(row)


def read_all_messages(messages: MessageQuerySet) -> list[dict[str, Any]]:
    return [message_json(row) for row in messages.oldest_first().values(*MESSAGE_COLUMNS)]


def read_message_page(messages: MessageQuerySet, params: QueryDict) -> tuple[list[dict[str, Any]], int, str | None]:
    """Return a page of messages, oldest first, its limit, and the cursor of the page before it: the first is the newest."""
    limit = read_whole_number(params, "limit", DEFAULT_LIMIT, least=1, most=MAX_LIMIT)
    key = read_cursor(params, MESSAGES_CURSOR)
    if key is not None:
        messages = messages.filter(after_key(key, "created_at", descending=True))
    rows = list(messages.newest_first().values(*MESSAGE_COLUMNS)[: limit + 1])
    following = _cursor(MESSAGES_CURSOR, rows[:limit], "created_at") if len(rows) > limit else None
    return [message_json(row) for row in reversed(rows[:limit])], limit, following


def read_conversation_page(conversations: Any, params: QueryDict, offset: int) -> tuple[list[dict[str, Any]], int, str | None]:
    """Return a page of conversations, newest activity first, its limit, and the cursor of the next."""
    limit = read_whole_number(params, "limit", DEFAULT_LIMIT, least=1, most=MAX_LIMIT)
    key = read_cursor(params, CONVERSATIONS_CURSOR)
    if key is not None:
        conversations = conversations.filter(after_key(key, "updated_at", descending=True))
    ordered = conversations.newest_activity_first().values(*CONVERSATION_COLUMNS)
    rows = list(ordered[offset : offset + limit + 1])
    following = _cursor(CONVERSATIONS_CURSOR, rows[:limit], "updated_at") if len(rows) > limit else None
    return [conversation_json(row) for row in rows[:limit]], limit, following


def _cursor(kind: str, rows: Sequence[dict[str, Any]], time_field: str) -> str:
    return encode_cursor(kind, SortKey(time=rows[-1][time_field], id=rows[-1]["id"]))


def group_by_day(items: list[dict[str, Any]], zone: ZoneInfo) -> dict[str, list[dict[str, Any]]]:
    """Group conversations by the day of their last turn, keeping their order."""
    days: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for item in items:
        days[item["updated_at"].astimezone(zone).date().isoformat()].append(item)
    return days


def read_zone(params: QueryDict) -> ZoneInfo:
    name = params.get("tz", "UTC")
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValidationError({"tz": ["Must be a time zone such as Europe/Berlin."]}) from None
