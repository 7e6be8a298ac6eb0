"""What the contract surface reads: conversations, messages, and pages of them."""

from datetime import datetime
from uuid import UUID

from django.http import QueryDict

from conversations.exceptions import ConversationNotFound
from conversations.known_times import with_conversation_times, with_message_times
from conversations.models import Conversation, Message
from conversations.prepared_statements import PreparedStatement, Rows
from conversations.surfaces.contract.responses import ConversationSchema, MessageSchema
from conversations.surfaces.paging import Page, read_message_page, read_page, select_message_page, select_page

DEFAULT_CONVERSATIONS = 50
# The contract's clients read a conversation with one request. Only very long conversations come in pages.
MOST_MESSAGES = 1000


def read_conversation(conversation_id: UUID, user_id: UUID) -> ConversationSchema:
    """Return a conversation. One query. Raises `ConversationNotFound`."""
    rows = _conversation(conversation_id=conversation_id, user_id=user_id)
    if not rows:
        raise ConversationNotFound
    return ConversationSchema.from_row(with_conversation_times(rows)[0])


@PreparedStatement
def _conversation(conversation_id: UUID, user_id: UUID) -> Rows:
    owned = Conversation.objects.visible_to(user_id).filter(id=conversation_id)
    rows: Rows = owned.values(*ConversationSchema.columns)
    return rows


def read_message(message_id: UUID) -> MessageSchema:
    """Return a message. Raises `ConversationNotFound` if it was deleted with its conversation in the meantime."""
    row = Message.objects.filter(id=message_id).values(*MessageSchema.columns).first()
    if row is None:
        raise ConversationNotFound
    return MessageSchema.from_row(with_message_times([row])[0])


def read_conversation_page(user_id: UUID, params: QueryDict) -> Page:
    """Read a page of a user's conversations, newest activity first. One query."""
    return read_page(
        _conversation_page, params, kind="kc", time_field="updated_at", default=DEFAULT_CONVERSATIONS, user_id=user_id
    )


@PreparedStatement
def _conversation_page(user_id: UUID, after_time: datetime | None, after_id: UUID | None) -> Rows:
    ordered = Conversation.objects.owned_by(user_id).listed().unarchived().newest_activity_first()
    return select_page(ordered, ConversationSchema.columns, "updated_at", after_time, after_id)


def read_messages(conversation_id: UUID, params: QueryDict) -> Page:
    """Read a page of a conversation's active branch, oldest first. One query."""
    return read_message_page(
        _message_page, params, kind="km", default=MOST_MESSAGES, most=MOST_MESSAGES, conversation_id=conversation_id
    )


@PreparedStatement
def _message_page(conversation_id: UUID, after_time: datetime | None, after_id: UUID | None) -> Rows:
    messages = Message.objects.in_conversation(conversation_id).active_branch().without_outputs()
    return select_message_page(messages, MessageSchema.columns, after_time, after_id, descending=False)
