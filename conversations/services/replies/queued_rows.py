"""The messages of conversations that wait for their turn: find, hold, release and drop them.

`sending.queue` has the other verbs.

A held message waits until the next send or until its user resumes it.
"""

from collections.abc import Sequence
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet

from conversations.models import Conversation, Message, QueuedMessage


def waiting_in(conversation_id: UUID) -> "QuerySet[QueuedMessage]":
    """Return the messages of a conversation that wait for their turn, the next one first."""
    return QueuedMessage.objects.filter(conversation_id=conversation_id, is_started=False).order_by("place")


def drop_queue(conversation_ids: Sequence[UUID]) -> None:
    """Remove what waits in these conversations."""
    QueuedMessage.objects.filter(conversation_id__in=conversation_ids, is_started=False).delete()


def hold_queue(conversation_id: UUID) -> None:
    """Keep what waits in a conversation until the next send or `resume_queue`."""
    QueuedMessage.objects.filter(conversation_id=conversation_id, is_started=False).update(is_held=True)


def hold_behind(reply_id: UUID) -> list[UUID]:
    """Keep what waits behind a running reply, and return the ids of what was not kept yet."""
    conversation_ids = Message.objects.filter(id=reply_id).values("conversation_id")
    waiting = QueuedMessage.objects.filter(conversation_id__in=conversation_ids, is_started=False, is_held=False)
    ids = list(waiting.values_list("id", flat=True))
    if ids:
        waiting.filter(id__in=ids).update(is_held=True)
    return ids


def release(message_ids: list[UUID]) -> None:
    """Let these messages go on, behind what runs now."""
    with transaction.atomic():
        waiting = QueuedMessage.objects.filter(id__in=message_ids)
        conversation_id = waiting.values_list("conversation_id", flat=True).first()
        if conversation_id is not None:
            Conversation.objects.select_for_update(no_key=True).filter(id=conversation_id).first()
            waiting.update(is_held=False)
            Message.objects.in_conversation(conversation_id).running().update(is_awaited=True)
