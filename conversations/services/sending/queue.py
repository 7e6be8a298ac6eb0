"""Messages that wait for their turn: queue, find, change, remove, hold and resume them.

A conversation has up to MOST_WAITING of them. Each verb runs under the conversation's lock. Whatever ends a reply starts the
first of them in the same transaction (see `replies.next_in_queue`). `queue_keeper` asks the inference service for it, and
starts what was left behind.

A queued message chooses its history when its turn comes: it follows what is the last active message then. The limits of its
user are asked twice: the quota when it is queued and when its turn comes, the number of running replies only then.
"""

from dataclasses import asdict
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Max

from chatapi.database.round_trips import run_together
from chatapi.observability.logs import trace_id_var
from chatapi.permits.limit import Limit
from conversations.exceptions import (
    ConversationNotFound,
    GenerationInProgress,
    MessageNotFound,
    MessageWaits,
    NotQueued,
    QueueFull,
)
from conversations.models import Conversation, Message, QueuedMessage
from conversations.new_ids import new_id
from conversations.querysets import MessageQuerySet
from conversations.services.replies.ending import interrupt_abandoned_in
from conversations.services.replies.next_in_queue import note_started, start_next
from conversations.services.replies.queued_rows import waiting_in
from conversations.services.replies.stop_marks import is_marked
from conversations.services.replies.store import live_replies
from conversations.services.sending.permits import Beginning, room_for_reply
from conversations.services.sending.retries import find_earlier, require_same
from conversations.services.sending.statements import lock_conversation
from conversations.services.sending.turn import NO_TERMS, Terms, Turn, turn_of_earlier
from conversations.services.usage.quotas import refuse_over_quota
from inference_proxy.protocols.base import Sampling

MOST_WAITING = 5
NEWER_FIELDS = ("reasoning_effort",)
LIMIT = Limit(what="messages that wait: five", per="conversation", refusal=QueueFull)


def find_waiting(conversation_id: UUID, key: str, fingerprint: str) -> Turn | None:
    """Return the turn of a message that waits under this Idempotency-Key. Raises `IdempotencyMismatch`."""
    found = waiting_in(conversation_id).filter(idempotency_key=key).first() if key else None
    if found is None:
        return None
    require_same(found.request_fingerprint, fingerprint)
    return _turn_of(found)


def find_keyed(conversation_id: UUID, key: str) -> UUID | None:
    """Return the message that waits under this Idempotency-Key, or None."""
    return waiting_in(conversation_id).filter(idempotency_key=key).values_list("id", flat=True).first()


def enqueue_turn(
    *,
    conversation_id: UUID,
    user_id: UUID | None,
    content: str,
    sampling: Sampling,
    idempotency_key: str = "",
    terms: Terms | None = None,
    is_background: bool = False,
) -> Turn | None:
    """Save a message behind the running reply and the messages that wait already. Those that a stop has kept go on.

    Return None if nothing runs and nothing waits: then it is a plain send. Raises `ConversationNotFound`, `QuotaExceeded`,
    `QueueFull`, `IdempotencyMismatch`, `GenerationInProgress`, `TooManyReplies`, `ShuttingDown`.
    """
    terms = terms or NO_TERMS
    fingerprint = terms.fingerprint_of_send(content, sampling, idempotency_key)
    with room_for_reply() as beginning, transaction.atomic():
        if lock_conversation(conversation_id, user_id, limited=False) is None:
            raise ConversationNotFound
        messages = Message.objects.in_conversation(conversation_id)
        if (known := _find_known(messages, conversation_id, idempotency_key, fingerprint)) is not None:
            return known
        refuse_over_quota(user_id)
        interrupt_abandoned_in(conversation_id)
        # Waits for the transaction that ends the reply. From here on, its end waits for this one.
        is_running = messages.running().update(is_awaited=True) > 0
        count = waiting_in(conversation_id).count()
        if not is_running and not count:
            return None
        if count >= MOST_WAITING:
            raise LIMIT.refuse()
        queued = QueuedMessage(
            id=new_id(),
            conversation_id=conversation_id,
            reply_id=new_id(),
            place=_next_place(conversation_id),
            content=content,
            request=_request_of(sampling, terms),
            is_background=is_background,
            idempotency_key=idempotency_key or None,
            request_fingerprint=fingerprint or None,
            is_held=is_marked(conversation_id, idempotency_key) if idempotency_key else False,
        )
        QueuedMessage.objects.bulk_create([queued])
        _go_on(conversation_id, except_id=queued.id)
        if not is_running:
            _start_first(conversation_id, beginning)
    return _turn_of(queued)


def _find_known(messages: MessageQuerySet, conversation_id: UUID, key: str, fingerprint: str) -> Turn | None:
    """Return the turn that an earlier request with this key has queued or begun.

    Raises `IdempotencyMismatch`, and `GenerationInProgress` if that turn came to nothing: its key can't wait a second time.
    """
    if waiting := find_waiting(conversation_id, key, fingerprint):
        return waiting
    earlier = find_earlier(messages, key, fingerprint)
    if earlier is not None and earlier.is_void:
        raise GenerationInProgress(messages.running().values_list("id", flat=True).first())
    return None if earlier is None else turn_of_earlier(conversation_id, earlier)


def change_queued(*, conversation_id: UUID, user_id: UUID, message_id: UUID, content: str, changes: dict[str, Any]) -> bool:
    """Replace the text of a message that waits, and of its settings those that are given. Return whether it waits."""
    with transaction.atomic():
        _lock(conversation_id, user_id)
        found = waiting_in(conversation_id).filter(id=message_id)
        request = found.values_list("request", flat=True).first()
        if request is None:
            return False
        sampling = {**request["sampling"], **request.get("newer_sampling", {}), **changes.pop("sampling", {})}
        found.update(content=content, request={**request, **changes, **_stored_sampling(sampling)})
        return True


def remove_queued(*, conversation_id: UUID, user_id: UUID, message_id: UUID) -> None:
    """Remove a message that waits. Raises `ConversationNotFound`, `MessageNotFound`, `NotQueued`."""
    with transaction.atomic():
        _lock(conversation_id, user_id)
        if waiting_in(conversation_id).filter(id=message_id).delete()[0]:
            return
        if Message.objects.in_conversation(conversation_id).filter(id=message_id).exists():
            raise NotQueued
        raise MessageNotFound


def refuse_queued(*, conversation_id: UUID, user_id: UUID, message_id: UUID) -> None:
    """Raise `MessageWaits` for a message of a user that waits. One query."""
    owned = Conversation.objects.visible_to(user_id).filter(id=conversation_id)
    if waiting_in(conversation_id).filter(id=message_id, conversation_id__in=owned.values("id")).exists():
        raise MessageWaits


def resume_queue(*, conversation_id: UUID, user_id: UUID) -> None:
    """Let the messages go on that a stop has kept. If nothing runs, start the first one. Raises `ConversationNotFound`."""
    with room_for_reply() as beginning, transaction.atomic():
        _lock(conversation_id, user_id)
        _go_on(conversation_id)
        if waiting_in(conversation_id).exists():
            _start_first(conversation_id, beginning)


def _lock(conversation_id: UUID, user_id: UUID | None) -> None:
    if lock_conversation(conversation_id, user_id, limited=False) is None:
        raise ConversationNotFound


def _go_on(conversation_id: UUID, except_id: UUID | None = None) -> None:
    """Let what a stop has kept go on. The caller holds the conversation's lock."""
    held = waiting_in(conversation_id).filter(is_held=True)
    if (held if except_id is None else held.exclude(id=except_id)).update(is_held=False):
        Message.objects.in_conversation(conversation_id).running().update(is_awaited=True)


def _start_first(conversation_id: UUID, beginning: Beginning) -> None:
    """Start the first message that waits, unless something runs. Its reply takes this request's permit."""
    first = waiting_in(conversation_id).filter(is_held=False).values_list("reply_id", flat=True).first()
    if first is None or Message.objects.in_conversation(conversation_id).running().exists():
        return
    beginning.claim(first)
    [started] = run_together(start_next(conversation_id))
    if not started:
        # Its user has as many running replies as one may have.
        live_replies.expect_no_longer(first)
    transaction.on_commit(lambda: note_started(started))


def _next_place(conversation_id: UUID) -> int:
    last = QueuedMessage.objects.filter(conversation_id=conversation_id).aggregate(last=Max("place"))["last"]
    return (last or 0) + 1


def _stored_sampling(chosen: dict[str, Any]) -> dict[str, Any]:
    """Return what a request keeps of its sampling. Nodes of the version before can't read the newer fields, and ignore them."""
    return {
        "sampling": {name: value for name, value in chosen.items() if name not in NEWER_FIELDS},
        "newer_sampling": {name: value for name, value in chosen.items() if name in NEWER_FIELDS},
    }


def _request_of(sampling: Sampling, terms: Terms) -> dict[str, Any]:
    """Return what a request chose, as `queued_turns` reads it."""
    return {
        **_stored_sampling({name: value for name, value in asdict(sampling).items() if value not in (None, False)}),
        "model_tag": terms.model_tag,
        "assistant_id": None if terms.assistant is None else str(terms.assistant.id),
        "instructions": terms.instructions,
        "options": terms.options,
        "trace_id": trace_id_var.get(),
    }


def _turn_of(queued: QueuedMessage) -> Turn:
    return Turn(
        conversation_id=queued.conversation_id,
        user_message_id=queued.id,
        reply_id=queued.reply_id,
        request=None,
        is_waiting=True,
    )
