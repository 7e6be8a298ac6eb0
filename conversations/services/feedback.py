"""What users think of replies, and which of several answers they go on with."""

from uuid import UUID

from django.db import transaction

from conversations.exceptions import ConversationNotFound, GenerationInProgress, MessageNotFound
from conversations.models import Conversation, Message, Role, Status
from conversations.services.replies import make_active


def rate_reply(
    *, conversation_id: UUID, user_id: UUID, message_id: UUID, rating: int | None, comment: str | None = None
) -> None:
    """Set or, with None, take back the rating of a reply (-1 or 1) and its comment.

    Raises `ConversationNotFound`, `MessageNotFound`.
    """
    if not Conversation.objects.owned_by(user_id).filter(id=conversation_id).exists():
        raise ConversationNotFound
    replies = Message.objects.in_conversation(conversation_id).filter(id=message_id, role=Role.ASSISTANT)
    if not replies.update(feedback=rating, feedback_comment=None if rating is None else comment):
        raise MessageNotFound


def activate_reply(*, conversation_id: UUID, user_id: UUID, message_id: UUID) -> None:
    """Make a reply the one of its turn that counts.

    Raises `ConversationNotFound`, `MessageNotFound`, and `GenerationInProgress` for a reply that is not whole yet.
    """
    with transaction.atomic():
        # The lock that sends take: what the model gets to see does not change under them.
        conversations = Conversation.objects.owned_by(user_id).filter(id=conversation_id)
        if not conversations.select_for_update(no_key=True).values_list("id", flat=True).first():
            raise ConversationNotFound
        replies = Message.objects.in_conversation(conversation_id).filter(id=message_id, role=Role.ASSISTANT)
        reply = replies.values("status", "parent_id").first()
        if reply is None:
            raise MessageNotFound
        if reply["status"] == Status.STREAMING:
            raise GenerationInProgress(message_id=str(message_id))
        if reply["parent_id"] is not None:
            make_active(conversation_id=conversation_id, parent_id=reply["parent_id"], reply_id=message_id)
