"""What the completion surface reads: the messages of a page of conversations, and single messages."""

from collections import defaultdict
from datetime import datetime
from itertools import takewhile
from uuid import UUID

from django.http import QueryDict

from conversations.exceptions import ConversationNotFound
from conversations.known_times import with_message_times
from conversations.message_batches import MAX_BATCH_BYTES
from conversations.models import Conversation, Message
from conversations.prepared_statements import PreparedStatement, Rows
from conversations.surfaces.completion.responses import MessageSchema
from conversations.surfaces.paging import Page, cut_page, read_page, select_page

CONVERSATIONS_CURSOR = "pc"
DEFAULT_CONVERSATIONS = 20
MOST_CONVERSATIONS = 50
MESSAGES_EACH = 200


def read_conversation_page(user_id: UUID, params: QueryDict) -> Page:
    """Read a page of a user's conversations without their messages, newest activity first. One query."""
    return read_page(
        _conversation_page,
        params,
        kind=CONVERSATIONS_CURSOR,
        time_field="updated_at",
        default=DEFAULT_CONVERSATIONS,
        most=MOST_CONVERSATIONS,
        user_id=user_id,
    )


@PreparedStatement
def _conversation_page(user_id: UUID, after_time: datetime | None, after_id: UUID | None) -> Rows:
    ordered = Conversation.objects.owned_by(user_id).listed().unarchived().newest_activity_first()
    return select_page(ordered, ("created_at",), "updated_at", after_time, after_id)


def read_messages(page: Page) -> tuple[dict[UUID, list[MessageSchema]], Page]:
    """Return the newest active messages of each conversation, oldest first, and the part of the page that could be read.

    The page ends before the first conversation whose messages exceed MAX_BATCH_BYTES. If that is the first conversation of the
    page, its newest messages are read. One query.
    """
    newest = Message.objects.newest_of_each([row["id"] for row in page.rows], MESSAGES_EACH, MAX_BATCH_BYTES)
    rows = [{**vars(message), "content": message.content_read} for message in newest]
    unread = {row["conversation_id"] for row in rows if row["content"] is None}
    messages: dict[UUID, list[MessageSchema]] = defaultdict(list)
    for row in with_message_times([row for row in rows if row["content"] is not None]):
        messages[row["conversation_id"]].append(MessageSchema.from_row(row))
    readable = sum(1 for _ in takewhile(lambda row: row["id"] not in unread, page.rows[1:]))
    return messages, cut_page(page, 1 + readable, kind=CONVERSATIONS_CURSOR, time_field="updated_at")


def read_message(message_id: UUID) -> MessageSchema:
    """Return a message. Raises `ConversationNotFound` if it was deleted with its conversation in the meantime."""
    row = Message.objects.filter(id=message_id).values(*MessageSchema.columns).first()
    if row is None:
        raise ConversationNotFound
    return MessageSchema.from_row(with_message_times([row])[0])
