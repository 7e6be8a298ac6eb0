"""Begin the reply to a queued message whose turn has come.

Its question and its empty reply are saved already, and the reply belongs to this worker. What is missing is what a send does
before it saves them: the quota, the model, and the history. The row of the queue is removed when the inference service is
asked. If this worker dies before that, another one takes the reply over.
"""

import logging
from typing import Any
from uuid import UUID

from django.db import transaction

from chatapi.database.round_trips import run_together
from conversations.exceptions import ConversationNotFound, QuotaExceeded
from conversations.models import Assistant, Conversation, QueuedMessage
from conversations.services.replies.ending import end_reply
from conversations.services.replies.leases import lease
from conversations.services.replies.store import live_replies
from conversations.services.replies.waiting import queue_watch
from conversations.services.sending.locking import lock_for_reply
from conversations.services.sending.model_tags import with_model_list
from conversations.services.sending.new_messages import context_before
from conversations.services.sending.turn import Terms, Turn, new_turn
from conversations.services.usage.quotas import refuse_over_quota
from inference_proxy.protocols.base import Sampling
from inference_proxy.replies.store import FinalStatus, FinishedReply

logger = logging.getLogger(__name__)


def begin_queued_reply(reply_id: UUID) -> None:
    """Ask the inference service for a reply of the queue, or end it if that can't be."""
    turn, is_background = _prepare(reply_id)
    if turn is not None and turn.request is not None:
        live_replies.start(reply_id, turn.request, is_background=is_background)
        QueuedMessage.objects.filter(reply_id=reply_id).delete()
    queue_watch.wake(reply_id)


def give_up_queued_reply(reply_id: UUID) -> None:
    """End a reply of the queue that can't be begun."""
    with transaction.atomic():
        _end(reply_id, "interrupted")
    queue_watch.wake(reply_id)


@with_model_list
def _prepare(reply_id: UUID) -> tuple[Turn | None, bool]:
    """Return the turn, unless it was begun, stopped or deleted in the meantime, and whether a client waits elsewhere."""
    with transaction.atomic():
        queued = QueuedMessage.objects.filter(reply_id=reply_id, is_started=True).first()
        if queued is None:
            return None, False
        owner_id = Conversation.objects.filter(id=queued.conversation_id).values_list("user_id", flat=True).first()
        sampling, terms = _read_request(queued.request)
        try:
            chosen, messages = lock_for_reply(queued.conversation_id, owner_id, sampling, terms)
        except ConversationNotFound:
            # It is in the trash by now, or has expired.
            _end(reply_id, "interrupted")
            return None, False
        mine = messages.running().filter(id=reply_id, worker=lease.worker_id)
        if not mine.exists() or live_replies.get(reply_id) is not None:
            return None, False
        if mine.filter(stop_requested=True).exists():
            _end(reply_id, "stopped")
            return None, False
        try:
            refuse_over_quota(owner_id)
        except QuotaExceeded as refusal:
            # The next ones would fail as well. They wait until their user resumes them.
            QueuedMessage.objects.filter(conversation_id=queued.conversation_id, is_started=False).update(is_held=True)
            _end(reply_id, "failed", refusal.code)
            return None, False
        asked = messages.only("id", "parent_id", "follows_id", "content", "created_at").get(id=queued.id)
        context = context_before(asked, asked.content, chosen)
        mine.update(model_tag=chosen.model_tag, context=chosen.summary_of(context), request_options=terms.options)
        return new_turn(chosen, queued.id, reply_id, context, goes_on=True), queued.is_background


def _end(reply_id: UUID, status: FinalStatus, error_code: str = "") -> None:
    """End a reply that was never begun, and start the next one. Runs in the caller's transaction."""
    nothing = FinishedReply(
        reply_id=reply_id,
        status=status,
        text="",
        error_code=error_code,
        token_count=0,
        prompt_tokens=None,
        inference_time_ms=0,
        first_token_ms=None,
        finish_reason="",
    )
    ended = end_reply(nothing, run_together, reason="not begun")
    # After the reply, in the order in which a deletion of the conversation locks these rows.
    QueuedMessage.objects.filter(reply_id=reply_id).delete()
    live_replies.expect_no_longer(reply_id)
    if ended is not None:
        logger.info("reply not begun", extra={"message_id": str(reply_id), "status": ended.status, "error": error_code})
        transaction.on_commit(ended.note)


def _read_request(request: dict[str, Any]) -> tuple[Sampling, Terms]:
    """Return what the request chose. An assistant that is not active any more is not used."""
    chosen = {**request["sampling"], **request.get("newer_sampling", {})}
    if "stop" in chosen:
        chosen["stop"] = tuple(chosen["stop"])
    assistant = None
    if request["assistant_id"] is not None:
        assistant = Assistant.objects.filter(id=request["assistant_id"], is_active=True).first()
    terms = Terms(
        instructions=request["instructions"], model_tag=request["model_tag"], options=request["options"], assistant=assistant
    )
    return Sampling(**chosen), terms
