"""What the primary surface reads: conversations, messages, and pages of them."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import partial
from itertools import product
from types import MappingProxyType
from typing import Any
from uuid import UUID

from django.db.models import CharField, Exists, OuterRef, Q, Subquery
from django.db.models.expressions import RawSQL
from django.http import QueryDict

from chatapi.database.round_trips import read_together
from conversations.exceptions import ConversationNotFound, MessageNotFound
from conversations.expressions import fold
from conversations.keyset import SortKey, encode_cursor
from conversations.known_times import with_conversation_times, with_message_times
from conversations.message_batches import select_batch
from conversations.models import Conversation, Message, QueuedMessage, Role, Status
from conversations.prepared_statements import PreparedStatement, Rows, read_all
from conversations.querysets import MessageQuerySet
from conversations.services.conversations import trash_begins_at
from conversations.surfaces.api.opening import ShortMessages
from conversations.surfaces.api.responses.conversations import ConversationDetailSchema, ConversationSchema
from conversations.surfaces.api.responses.messages import QUEUED, MessageDetailSchema, MessageSchema
from conversations.surfaces.paging import (
    Page,
    message_page,
    read_key,
    read_message_page,
    read_page,
    select_message_page,
    select_page,
)
from conversations.tags import tag_key

CONVERSATIONS_CURSOR = "c"
MESSAGES_CURSOR = "m"
TRASH_CURSOR = "t"
DEFAULT_LIMIT = 50
# Without `limit`, a conversation is read with at most this many messages.
MAX_MESSAGES = 1000
# The most conversations that one list by title or tag looks through: 20 ms for a user with more.
MOST_EXAMINED = 10_000
LEAST_ID = UUID(int=0)
RUNNING = "running_message_id"
WITHOUT_RUNNING = tuple(column for column in ConversationSchema.columns if column != RUNNING)
# Looks up the running replies of a page at once, of which there is rarely one. One look-up per row took half of a list's time.
# Each row has all of them, as pairs of ids. The rows stay in the order of the page.
PAGE_WITH_RUNNING_SQL = """
WITH page AS MATERIALIZED ({page})
SELECT page.*, (
    SELECT array_agg(ARRAY[conversation_id, id]) FROM messages
    WHERE conversation_id = ANY(ARRAY(SELECT id FROM page)) AND status = 'streaming'
) FROM page
"""
# In a list of a user's conversations, the request has their values, so PostgreSQL need not send them.
KNOWN = ("user_id", "is_archived", "deleted_at")
LISTED = tuple(column for column in WITHOUT_RUNNING if column not in KNOWN)
MESSAGE_COLUMNS = (*MessageSchema.columns, "has_versions")
# Counts versions here, because a question or an answer may have hundreds. For a later version of a question, it also reads the
# first one, which says how many there are.
PLACES_SQL = """
SELECT id, parent_id, role, number, count FROM (
    SELECT id, parent_id, role, row_number() OVER (PARTITION BY parent_id, role ORDER BY created_at, id) AS number,
           count(*) OVER (PARTITION BY parent_id, role) AS count
    FROM messages WHERE conversation_id = %(conversation_id)s AND parent_id = ANY(%(parents)s::uuid[])
) AS versions
WHERE id = ANY(%(shown)s::uuid[]) OR (role = 'user' AND number = 1)
"""
_short_messages = ShortMessages(MESSAGE_COLUMNS)
# The fields of a message whose turn has not come.
NOT_SAID_YET: Mapping[str, Any] = MappingProxyType(
    {
        **dict.fromkeys((*MessageDetailSchema.columns, *MessageDetailSchema.computed)),
        "role": Role.USER.value,
        "status": QUEUED,
        "is_active": True,
        "version": 1,
        "versions": 1,
    }
)


def read_conversation(conversation_id: UUID, user_id: UUID) -> ConversationSchema:
    """Return a conversation. One query. Raises `ConversationNotFound`."""
    rows = _conversation(conversation_id=conversation_id, user_id=user_id)
    if not rows:
        raise ConversationNotFound
    return ConversationSchema.from_row(with_conversation_times(rows)[0])


@PreparedStatement
def _conversation(conversation_id: UUID, user_id: UUID) -> Rows:
    owned = Conversation.objects.visible_to(user_id).filter(id=conversation_id)
    rows: Rows = owned.with_running_reply().values(*ConversationSchema.columns)
    return rows


@PreparedStatement
def _conversation_around_messages(conversation_id: UUID, user_id: UUID) -> Rows:
    """Select what goes with a page of messages, which says itself which reply is running."""
    owned = Conversation.objects.visible_to(user_id).filter(id=conversation_id)
    waiting = QueuedMessage.objects.filter(conversation_id=OuterRef("id"), is_started=False)
    rows: Rows = owned.annotate(has_queue=Exists(waiting)).values(*WITHOUT_RUNNING, "has_queue")
    return rows


def read_message(conversation_id: UUID, message_id: UUID) -> MessageSchema:
    """Return a message of a conversation, with its `context`. One query, or two for one that waits.

    Raises `MessageNotFound`.
    """
    columns = (*MessageDetailSchema.columns, "has_versions")
    row = Message.objects.in_conversation(conversation_id).filter(id=message_id).values(*columns).first()
    if row is None:
        return _read_queued(conversation_id, message_id)
    (message,) = _shown([row], MessageDetailSchema)
    return message


def _read_queued(conversation_id: UUID, message_id: UUID) -> MessageDetailSchema:
    for row in _queued(conversation_id=conversation_id):
        if row["id"] == message_id:
            return MessageDetailSchema.from_row({**NOT_SAID_YET, **row})
    raise MessageNotFound


@PreparedStatement
def _queued(conversation_id: UUID) -> Rows:
    waiting = QueuedMessage.objects.filter(conversation_id=conversation_id, is_started=False).order_by("place")
    model_tag = RawSQL("request ->> 'model_tag'", (), output_field=CharField())
    columns = ("id", "conversation_id", "reply_id", "content", "created_at", "model_tag")
    rows: Rows = waiting.annotate(model_tag=model_tag).values(*columns)
    return rows


def _show_queued(rows: list[dict[str, Any]], seen: Iterable[UUID]) -> list[MessageSchema]:
    """Return messages that wait, except those whose turn has come since they were read: these are among the `seen`."""
    known = set(seen)
    return MessageSchema.from_rows([{**NOT_SAID_YET, **row} for row in rows if row["id"] not in known])


def read_conversation_and_messages(conversation_id: UUID, user_id: UUID) -> ConversationDetailSchema:
    """Return a conversation, the newest messages of its active branch, oldest first, and the cursor of older ones.

    At most MAX_MESSAGES, and MAX_BATCH_BYTES of content. Messages that wait for their turn come last. Two queries in one round
    trip, and one or two in a second one if the conversation is long or any message waits. Raises `ConversationNotFound`.
    """
    values = {"conversation_id": conversation_id, "user_id": user_id}
    around = _conversation_around_messages.reading(**values)
    owned, short = read_together(around.statement, _short_messages.statement(conversation_id))
    if not owned:
        raise ConversationNotFound
    (conversation,) = around.as_dicts(owned)
    if not conversation["has_queue"] and (messages := _short_messages.read(conversation_id, short)) is not None:
        running = next((message["id"] for message in messages if message["status"] == Status.STREAMING), None)
        active = [message for message in messages if message["is_active"]]
        return _with_messages(conversation, Page(active, MAX_MESSAGES, next=None), [], running)
    # As a value, the limit tells PostgreSQL to plan for a part of the rows, which an index gives in their order.
    newest = _newest_messages.reading(**values, limit=MAX_MESSAGES + 1, offset=0)
    # What waits comes before the messages, so that one whose turn comes meanwhile is not missed.
    waiting = [_queued.reading(conversation_id=conversation_id)] if conversation["has_queue"] else []
    *queued, messages = read_all(*waiting, newest)
    page = message_page(messages, MAX_MESSAGES, MESSAGES_CURSOR)
    return _with_messages(conversation, page, queued[0] if queued else [], _running_of(page))


def read_conversation_and_page(conversation_id: UUID, user_id: UUID, params: QueryDict) -> ConversationDetailSchema:
    """Do the same for a page of the messages. Two queries, and one more if any waits."""
    rows = _conversation_around_messages(conversation_id=conversation_id, user_id=user_id)
    if not rows:
        raise ConversationNotFound
    queued = _queued_behind(conversation_id, params) if rows[0]["has_queue"] else []
    page = read_message_page(
        _active_messages, params, kind=MESSAGES_CURSOR, default=DEFAULT_LIMIT, conversation_id=conversation_id
    )
    return _with_messages(rows[0], page, queued, _running_of(page))


def _queued_behind(conversation_id: UUID, params: QueryDict) -> list[dict[str, Any]]:
    """Return what waits behind a page: behind the first one, which has the newest messages."""
    return [] if params.get("cursor") else _queued(conversation_id=conversation_id)


def _with_messages(
    row: dict[str, Any], page: Page, queued: list[dict[str, Any]], running: UUID | None
) -> ConversationDetailSchema:
    shown = {RUNNING: running, "messages": _oldest_first(page, queued), "next": page.next}
    return ConversationDetailSchema.from_row({**with_conversation_times([row])[0], **shown})


def _running_of(page: Page) -> UUID | None:
    """Return the running reply as the statement saw it that read the messages, so that both are of one moment."""
    return page.rows[0][RUNNING] if page.rows else None


def _with_running(messages: MessageQuerySet, conversation_id: UUID) -> MessageQuerySet:
    running = Message.objects.in_conversation(conversation_id).running().values("id")[:1]
    return messages.annotate(**{RUNNING: Subquery(running)})


@PreparedStatement
def _newest_messages(conversation_id: UUID, user_id: UUID) -> Rows:
    # PostgreSQL finds out once whether the user may see the conversation, and reads no message otherwise.
    is_visible = Exists(Conversation.objects.visible_to(user_id).filter(id=conversation_id))
    messages = Message.objects.in_conversation(conversation_id).active_branch().filter(is_visible)
    columns = [*MESSAGE_COLUMNS, RUNNING]
    return select_batch(_with_running(messages, conversation_id), columns, None)


def read_messages(
    conversation_id: UUID, user_id: UUID, params: QueryDict, *, versions: str = "active"
) -> tuple[list[MessageSchema], int, str | None]:
    """Return a page of messages, oldest first, its limit, and the cursor of older messages. The first page has the newest, and
    those that wait for their turn.

    With the versions "all", messages that are not on the active branch are read too. Raises `ConversationNotFound`.
    """
    found = _conversation_around_messages(conversation_id=conversation_id, user_id=user_id)
    if not found:
        raise ConversationNotFound
    queued = _queued_behind(conversation_id, params) if found[0]["has_queue"] else []
    select = _all_messages if versions == "all" else _active_messages
    page = read_message_page(select, params, kind=MESSAGES_CURSOR, default=DEFAULT_LIMIT, conversation_id=conversation_id)
    return _oldest_first(page, queued), page.limit, page.next


@PreparedStatement
def _active_messages(conversation_id: UUID, after_time: datetime | None, after_id: UUID | None) -> Rows:
    messages = _with_running(Message.objects.in_conversation(conversation_id).active_branch(), conversation_id)
    return select_message_page(messages, (*MESSAGE_COLUMNS, RUNNING), after_time, after_id)


@PreparedStatement
def _all_messages(conversation_id: UUID, after_time: datetime | None, after_id: UUID | None) -> Rows:
    return select_message_page(Message.objects.in_conversation(conversation_id), MESSAGE_COLUMNS, after_time, after_id)


def _oldest_first(page: Page, queued: list[dict[str, Any]]) -> list[MessageSchema]:
    shown = _shown(page.rows[::-1])
    return shown + _show_queued(queued, seen=(row["id"] for row in page.rows)) if queued else shown


def _shown(rows: list[dict[str, Any]], schema: type[MessageSchema] = MessageSchema) -> list[MessageSchema]:
    """Return messages of one conversation. One query, if any of them has several versions."""
    places = _places_among_versions(rows)
    for row in rows:
        row["version"], row["versions"] = places.get(row["id"], (1, 1))
        row["reply_id"] = row["tool_call_id"] = None
    return schema.from_rows(with_message_times(rows))


def _places_among_versions(rows: list[dict[str, Any]]) -> dict[UUID, tuple[int, int]]:
    """Return which version each message is, and of how many, for those of which there are several."""
    several = [row for row in rows if row["has_versions"] or (row["role"] == Role.USER and row["parent_id"])]
    if not several:
        return {}
    values = {
        "conversation_id": several[0]["conversation_id"],
        # The first version of a question is the parent of the others; a question is the parent of its answers.
        "parents": list({row["parent_id"] or row["id"] for row in several}),
        "shown": [row["id"] for row in several],
    }
    (found,) = read_together((PLACES_SQL, values))
    places = {}
    for message_id, parent_id, role, number, count in found:
        if role != Role.USER:
            places[message_id] = (number, count)
        else:
            places[message_id] = (number + 1, count + 1)
            places[parent_id] = (1, count + 1)
    return {message_id: place for message_id, place in places.items() if place[1] > 1}


def read_conversation_page(
    user_id: UUID,
    params: QueryDict,
    *,
    is_favorited: bool | None,
    title: str,
    offset: int,
    is_archived: bool = False,
    tag: str = "",
) -> tuple[list[ConversationSchema], int, str | None]:
    """Return a page of a user's conversations, newest activity first, its limit, and the cursor of the next.

    `title` is text that their titles contain. No index finds it, so one request looks through MOST_EXAMINED; of those with a
    `tag` too. The page may then have fewer rows than its limit, and the cursor leads on. One query, or two with a title or tag.
    """
    order: dict[str, Any] = {"kind": CONVERSATIONS_CURSOR, "time_field": "updated_at"}
    keys = _conversation_keys[is_archived, is_favorited, bool(tag)]
    last = read_key(keys, params, offset=MOST_EXAMINED - 1, user_id=user_id, **order) if title or tag else None
    # Without a time, the newest. Only the predecessor wrote rows without one.
    since = last.time if last else None
    chosen: dict[str, Any] = {
        "title": fold(title) or None,
        "keys": [tag_key(tag)] if tag else None,
        "since": since,
    }
    select = _conversation_page[is_archived, is_favorited]
    page = read_page(select, params, default=DEFAULT_LIMIT, offset=offset, user_id=user_id, **chosen, **order)
    next_cursor = page.next
    if next_cursor is None and since is not None:
        # All conversations of that time were looked through.
        next_cursor = encode_cursor(CONVERSATIONS_CURSOR, SortKey(since, LEAST_ID))
    # No list has what is in the trash.
    known = {"user_id": user_id, "is_archived": is_archived, "deleted_at": None}
    running = dict(page.rows[0][RUNNING] or ()) if page.rows else {}
    for row in page.rows:
        row.update(known)
        row[RUNNING] = running.get(row["id"])
    return ConversationSchema.from_rows(with_conversation_times(page.rows)), page.limit, next_cursor


def read_trash_page(user_id: UUID, params: QueryDict) -> tuple[list[ConversationSchema], int, str | None]:
    """Return a page of a user's conversations that can be restored, as `read_conversation_page` does. One query."""
    order: dict[str, Any] = {"kind": TRASH_CURSOR, "time_field": "updated_at"}
    since = trash_begins_at()
    page = read_page(_trash_page, params, default=DEFAULT_LIMIT, user_id=user_id, kept_since=since, **order)
    return ConversationSchema.from_rows(with_conversation_times(page.rows)), page.limit, page.next


@PreparedStatement
def _trash_page(user_id: UUID, kept_since: datetime, after_time: datetime | None, after_id: UUID | None) -> Rows:
    removed = Conversation.objects.owned_by(user_id).in_trash(kept_since).with_running_reply().newest_activity_first()
    return select_page(removed, ConversationSchema.columns, "updated_at", after_time, after_id)


def _select_conversations(
    is_archived: bool,
    is_favorited: bool | None,
    user_id: UUID,
    title: str | None,
    keys: list[str] | None,
    since: datetime | None,
    after_time: datetime | None,
    after_id: UUID | None,
) -> Rows:
    conversations = Conversation.objects.owned_by(user_id).in_list(is_archived=is_archived, is_favorited=is_favorited)
    if title is not None:
        conversations = conversations.titled_with(title)
    if keys is not None:
        conversations = conversations.tagged(keys)
    if since is not None:
        conversations = conversations.filter(Q(updated_at__gte=since) | Q(updated_at=None))
    return select_page(conversations.newest_activity_first(), LISTED, "updated_at", after_time, after_id)


def _select_keys(
    is_archived: bool,
    is_favorited: bool | None,
    is_tagged: bool,
    user_id: UUID,
    after_time: datetime | None,
    after_id: UUID | None,
) -> Rows:
    conversations = Conversation.objects.owned_by(user_id).in_list(
        is_archived=is_archived, is_favorited=is_favorited, is_tagged=is_tagged
    )
    return select_page(conversations.newest_activity_first(), (), "updated_at", after_time, after_id)


# One statement for each list: PostgreSQL uses the index of a list only if the SQL, not a value, says which one it is.
_LISTS = tuple(product((False, True), (None, False, True)))
_conversation_page = {
    one: PreparedStatement(partial(_select_conversations, *one), around=PAGE_WITH_RUNNING_SQL, more=(RUNNING,))
    for one in _LISTS
}
_conversation_keys = {
    (*one, tagged): PreparedStatement(partial(_select_keys, *one, tagged)) for one, tagged in product(_LISTS, (False, True))
}
