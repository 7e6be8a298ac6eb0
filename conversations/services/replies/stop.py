"""Stop a reply, in whichever process it is generated."""

import time
from uuid import UUID

from prometheus_client import Histogram

from chatapi.database.connections import release_connections
from chatapi.observability.metrics import STATEMENT_BUCKETS
from conversations.models import Message, Status
from conversations.services.replies.ending import interrupt_if_abandoned
from conversations.services.replies.keyed import find_keyed_reply
from conversations.services.replies.queued_rows import drop_queue, hold_queue
from conversations.services.replies.stop_marks import mark_stop
from conversations.services.replies.store import live_replies

# Another worker learns of a stop at its next checkpoint. If it has not by then, it is dead, and its reply will be marked.
STOP_WAIT_S = 10.0
STOP_POLL_S = 0.1

_stop_seconds = Histogram(
    "chat_stop_duration_seconds",
    "Time to stop a running reply, until it is saved.",
    buckets=STATEMENT_BUCKETS,
)


def stop_reply(conversation_id: UUID, key: str = "", *, drops_queue: bool = False) -> UUID | None:
    """Stop the running reply of a conversation and return it, or the newest active reply if none is running.

    Messages that wait are kept until the next send or until they are resumed, or dropped. With the Idempotency-Key of a send,
    stop the reply to that send. A stop that comes before its send leaves a mark for it. None if the conversation has no reply,
    or no send with this key.
    """
    if key:
        return _stop_keyed_reply(conversation_id, key)
    # First: the end of the running reply starts the next one.
    if drops_queue:
        drop_queue([conversation_id])
    else:
        hold_queue(conversation_id)
    stopped_id = _stop_running(conversation_id)
    if stopped_id is not None:
        return stopped_id
    begun_id = mark_stop(conversation_id, "")
    if begun_id is not None:
        stop_one_reply(begun_id)
        return begun_id
    replies = Message.objects.in_conversation(conversation_id).replies().active_branch()
    newest = replies.newest_first().values_list("id", "status").first()
    if newest is None:
        return None
    if newest[1] == Status.STREAMING:
        # A send was saved between the two queries.
        return _stop_running(conversation_id) or newest[0]
    return newest[0]


def _stop_keyed_reply(conversation_id: UUID, key: str) -> UUID | None:
    messages = Message.objects.in_conversation(conversation_id)
    reply = find_keyed_reply(messages, key)
    if reply is None:
        mark_stop(conversation_id, key)
        # A send may have been saved before the mark.
        reply = find_keyed_reply(messages, key)
    if reply is None:
        return None
    stop_one_reply(reply.id)
    return reply.id


def stop_running_reply(conversation_id: UUID) -> UUID | None:
    """Stop the running reply of a conversation that is about to be deleted, and drop what waits there.

    Wait until the reply is saved. Return its id, or None if none is running. Holds no connection while it waits. A reply whose
    worker died stays `streaming` until the worker is known to be dead.
    """
    drop_queue([conversation_id])
    return _stop_running(conversation_id)


def _stop_running(conversation_id: UUID) -> UUID | None:
    running = Message.objects.in_conversation(conversation_id).running()
    reply_id = running.values_list("id", flat=True).first()
    if reply_id is not None:
        stop_one_reply(reply_id)
    return reply_id


@_stop_seconds.time()
def stop_one_reply(reply_id: UUID) -> None:
    """Stop this reply and wait until it is saved. Does nothing if it has ended."""
    generation = live_replies.get(reply_id)
    if generation is not None:
        release_connections()
        generation.stop()
        generation.has_ended.wait(STOP_WAIT_S)
        return
    running = Message.objects.running().filter(id=reply_id)
    running.update(stop_requested=True)
    give_up_at = time.monotonic() + STOP_WAIT_S
    while time.monotonic() < give_up_at:
        if interrupt_if_abandoned(reply_id) or not running.exists():
            break
        release_connections()
        time.sleep(STOP_POLL_S)
