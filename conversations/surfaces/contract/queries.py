"""What the contract surface reads: single conversations and messages."""

from typing import Any
from uuid import UUID

from conversations.exceptions import ConversationNotFound
from conversations.models import Conversation, Message
from conversations.prepared_reads import PreparedRead, Rows
from conversations.surfaces.contract.responses import ConversationSchema, MessageSchema


def read_conversation(conversation_id: UUID, user_id: UUID) -> dict[str, Any]:
    """Return a conversation as JSON. One query. Raises `ConversationNotFound`."""
    rows = _conversation(conversation_id=conversation_id, user_id=user_id)
    if not rows:
        raise ConversationNotFound
    return ConversationSchema.from_row(rows[0])


@PreparedRead
def _conversation(conversation_id: UUID, user_id: UUID) -> Rows:
    owned = Conversation.objects.visible_to(user_id).filter(id=conversation_id)
    rows: Rows = owned.values(*ConversationSchema.columns)
    return rows


def read_message(message_id: UUID) -> dict[str, Any]:
    """Return a message as JSON. Raises `ConversationNotFound` if it was deleted with its conversation in the meantime."""
    row = Message.objects.filter(id=message_id).values(*MessageSchema.columns).first()
    if row is None:
        raise ConversationNotFound
    return MessageSchema.from_row(row)
