"""Delete a response: one answer, and the conversation with it if no client asked for that conversation. Delete an item."""

from uuid import UUID

from django.db import transaction

from conversations.exceptions import ConversationNotFound, MessageNotFound
from conversations.models import Conversation, Message, Role, Status
from conversations.querysets import MessageQuerySet
from conversations.services.history.holds import refuse_held, refusing_held
from conversations.services.replies.stop import stop_one_reply
from conversations.services.replies.versions import activate_newest_answer
from conversations.surfaces.openai.identifiers import ItemNotFound
from inference_proxy.protocols.tool_calls import read_calls, write_calls


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

    Raises `MessageNotFound`, `OnHold`.
    """
    conversation_id = find_reply(reply_id=reply_id, user_id=user_id)
    conversations = Conversation.objects.filter(id=conversation_id)
    refuse_held(conversations)
    stop_one_reply(reply_id)
    with refusing_held(), transaction.atomic():
        # A send takes the same lock, so no reply begins in a conversation that is about to be deleted.
        unlisted = conversations.select_for_update(no_key=True).values_list("is_listed", flat=True).first() is False
        messages = Message.objects.in_conversation(conversation_id)
        _delete(messages, reply_id)
        # Only replies that were begun here have a context, not those of the history that a client brought.
        if unlisted and not messages.replies().filter(context__isnull=False).exists():
            # ON DELETE CASCADE in the database deletes the messages.
            conversations.delete()


def delete_item(
    *, conversation_id: UUID, user_id: UUID, item_id: UUID, is_reasoning: bool, call_number: int | None = None
) -> None:
    """Delete a message, or only the reasoning or one call of a reply. A reply is stopped if it runs.

    Of a question's other answers, the newest becomes active instead. What follows the message stays.
    Raises `ConversationNotFound`, `ItemNotFound`, `OnHold`.
    """
    theirs = Conversation.objects.visible_to(user_id).filter(id=conversation_id)
    if not theirs.exists():
        raise ConversationNotFound
    messages = Message.objects.in_conversation(conversation_id)
    found = messages.filter(id=item_id).values("role", "status").first()
    if found is None or ((is_reasoning or call_number is not None) and found["role"] != Role.ASSISTANT):
        raise ItemNotFound
    refuse_held(theirs)
    if found["status"] == Status.STREAMING:
        stop_one_reply(item_id)
    with refusing_held(), transaction.atomic():
        list(theirs.select_for_update(no_key=True).values_list("id", flat=True))
        if is_reasoning:
            messages.filter(id=item_id).update(reasoning="")
            return
        if call_number is not None and not _delete_call(messages, item_id, call_number):
            return
        _delete(messages, item_id)


def _delete_call(messages: MessageQuerySet, reply_id: UUID, number: int) -> bool:
    """Delete a call of a reply. Return whether nothing of the reply is left then. Raises `ItemNotFound`."""
    reply = messages.only("content", "reasoning", "tool_calls").filter(id=reply_id).first()
    calls = list(read_calls(reply.tool_calls)) if reply else []
    if reply is None or number >= len(calls):
        raise ItemNotFound
    del calls[number]
    messages.filter(id=reply_id).update(tool_calls=write_calls(calls))
    return not (calls or reply.content or reply.reasoning)


def _delete(messages: MessageQuerySet, message_id: UUID) -> None:
    found = messages.filter(id=message_id)
    deleted = found.values("is_active", "parent_id", "role").first()
    if deleted is not None and deleted["role"] == Role.ASSISTANT and deleted["is_active"] and deleted["parent_id"]:
        # Before it is deleted: otherwise a trigger for the predecessor would choose, which takes a part for a whole answer.
        found.update(is_active=False)
        activate_newest_answer(messages.exclude(id=message_id), deleted["parent_id"])
    found.delete()
