"""What the primary surface reads: conversations, messages, and pages of them."""

from typing import Any
from uuid import UUID

from django.http import QueryDict

from conversations.exceptions import ConversationNotFound, MessageNotFound
from conversations.message_batches import select_batch
from conversations.models import Conversation, Message
from conversations.prepared_reads import PreparedRead, Rows
from conversations.querysets import ConversationQuerySet, MessageQuerySet
from conversations.surfaces.api.responses import ConversationSchema, MessageDetailSchema, MessageSchema
from conversations.surfaces.paging import Page, message_page, read_message_page, read_page

CONVERSATIONS_CURSOR = "c"
MESSAGES_CURSOR = "m"
DEFAULT_LIMIT = 50
# Without `limit`, a conversation is read with at most this many messages.
MAX_MESSAGES = 1000


def read_conversation(conversation_id: UUID, user_id: UUID) -> dict[str, Any]:
    """Return a conversation as JSON. One query. Raises `ConversationNotFound`."""
    rows = _conversation(conversation_id=conversation_id, user_id=user_id)
    if not rows:
        raise ConversationNotFound
    return ConversationSchema.from_row(rows[0])


@PreparedRead
def _conversation(conversation_id: UUID, user_id: UUID) -> Rows:
    owned = Conversation.objects.visible_to(user_id).filter(id=conversation_id)
    rows: Rows = owned.with_running_reply().values(*ConversationSchema.columns)
    return rows


def require_conversation(conversation_id: UUID, user_id: UUID) -> None:
    """Raises `ConversationNotFound` if it does not exist or belongs to another user."""
    if not Conversation.objects.visible_to(user_id).filter(id=conversation_id).exists():
        raise ConversationNotFound


def read_message(conversation_id: UUID, message_id: UUID) -> dict[str, Any]:
    """Return a message of a conversation as JSON, with its `context`. One query. Raises `MessageNotFound`."""
    row = Message.objects.in_conversation(conversation_id).filter(id=message_id).values(*MessageDetailSchema.columns).first()
    if row is None:
        raise MessageNotFound
    return MessageDetailSchema.from_row(row)


def read_newest_messages(conversation_id: UUID) -> tuple[list[dict[str, Any]], str | None]:
    """Return the newest messages of a conversation's active branch, oldest first, and the cursor of older ones.

    At most MAX_MESSAGES, and MAX_BATCH_BYTES of content. One query.
    """
    page = message_page(_newest_messages(conversation_id=conversation_id), MAX_MESSAGES, MESSAGES_CURSOR)
    return _oldest_first(page), page.next


@PreparedRead
def _newest_messages(conversation_id: UUID) -> Rows:
    return select_batch(Message.objects.in_conversation(conversation_id).active_branch(), MessageSchema.columns, MAX_MESSAGES)


def read_messages(messages: MessageQuerySet, params: QueryDict) -> tuple[list[dict[str, Any]], int, str | None]:
    """Return a page of messages, oldest first, its limit, and the cursor of older messages. The first page has the newest."""
    page = read_message_page(messages, MessageSchema.columns, params, kind=MESSAGES_CURSOR, default=DEFAULT_LIMIT)
    return _oldest_first(page), page.limit, page.next


def _oldest_first(page: Page) -> list[dict[str, Any]]:
    return [MessageSchema.from_row(row) for row in reversed(page.rows)]


def read_conversation_page(
    conversations: ConversationQuerySet, params: QueryDict, offset: int
) -> tuple[list[dict[str, Any]], int, str | None]:
    """Return a page of conversations, newest activity first, its limit, and the cursor of the next."""
    page = read_page(
        conversations.with_running_reply().newest_activity_first(),
        ConversationSchema.columns,
        params,
        kind=CONVERSATIONS_CURSOR,
        time_field="updated_at",
        default=DEFAULT_LIMIT,
        offset=offset,
    )
    return [ConversationSchema.from_row(row) for row in page.rows], page.limit, page.next
