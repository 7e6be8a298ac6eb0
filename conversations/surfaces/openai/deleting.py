"""Delete a response: one answer, and the conversation with it if no client asked for that conversation."""

from uuid import UUID

from django.db import transaction

from conversations.exceptions import MessageNotFound
from conversations.models import Conversation, Message
from conversations.services.replies.stop import stop_one_reply
from conversations.services.replies.versions import activate_newest_answer


def find_reply(*, reply_id: UUID, user_id: UUID) -> UUID:
    """Return the conversation of a user's reply. Raises `MessageNotFound`."""
    conversation_id = (
        Message.objects.visible_to(user_id).replies().filter(id=reply_id).values_list("conversation_id", flat=True)
    )
    found = conversation_id.first()
    if found is None:
        raise MessageNotFound
    return found


def delete_reply(*, reply_id: UUID, user_id: UUID) -> None:
    """Stop a reply if it runs, and delete it. Of its question's other answers, the newest becomes active instead.

    The question stays, except in an unlisted conversation without other replies.

    Raises `MessageNotFound`.
    """
    conversation_id = find_reply(reply_id=reply_id, user_id=user_id)
    stop_one_reply(reply_id)
    with transaction.atomic():
        # A send takes the same lock, so no reply begins in a conversation that is about to be deleted.
        conversations = Conversation.objects.filter(id=conversation_id)
        unlisted = conversations.select_for_update(no_key=True).values_list("is_listed", flat=True).first() is False
        messages = Message.objects.in_conversation(conversation_id)
        deleted = messages.filter(id=reply_id).values("is_active", "parent_id").first()
        messages.filter(id=reply_id).delete()
        if deleted is not None and deleted["is_active"] and deleted["parent_id"]:
            activate_newest_answer(messages, deleted["parent_id"])
        # Only replies that were begun here have a context, not those of the history that a client brought.
        if unlisted and not messages.replies().filter(context__isnull=False).exists():
            # ON DELETE CASCADE in the database deletes the messages.
            conversations.delete()
