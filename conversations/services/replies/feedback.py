"""Users' ratings of replies."""

from typing import Any
from uuid import UUID

from conversations.exceptions import ConversationNotFound, MessageNotFound
from conversations.models import Conversation, Message, Role


def rate_reply(
    *, conversation_id: UUID, user_id: UUID, message_id: UUID, rating: int | None, comment: str | None = None
) -> None:
    """Set the rating of a reply (-1 or 1) and its comment. None removes both.

    Staff who handled the rating see it as open again. An answer that a client brought can't be rated.
    Raises `ConversationNotFound`, `MessageNotFound`.
    """
    if not Conversation.objects.visible_to(user_id).filter(id=conversation_id).exists():
        raise ConversationNotFound
    replies = Message.objects.in_conversation(conversation_id).filter(id=message_id, role=Role.ASSISTANT, source=None)
    changes: dict[str, Any] = {"feedback": rating, "feedback_comment": comment, "feedback_handled_at": None}
    if rating is None:
        changes |= {"feedback_comment": None, "feedback_handled_by": None, "feedback_note": None}
    if not replies.update(**changes):
        raise MessageNotFound
