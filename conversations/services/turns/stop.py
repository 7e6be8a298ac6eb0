"""Stopping a reply, wherever it is being generated."""

import time
from uuid import UUID

from chatapi.database import release_connections
from conversations.models import Message, Status
from conversations.services.turns.replies import live_replies

# The other worker learns of it at its next checkpoint; one that hasn't by now is gone, and its reply will be marked so.
STOP_WAIT_S = 10.0
STOP_POLL_S = 0.1


def stop_reply(conversation_id: UUID) -> UUID | None:
    """Stop what is running in a conversation, and return the reply that a stop answers with.

    That is the reply that was stopped. Where none ran it is the newest one that counts, and None where there is none.
    """
    stopped_id = stop_running_reply(conversation_id)
    if stopped_id is not None:
        return stopped_id
    replies = Message.objects.in_conversation(conversation_id).replies().active_branch()
    newest = replies.newest_first().values_list("id", "status").first()
    if newest is None:
        return None
    if newest[1] == Status.STREAMING:
        # A send that came at the same time was saved between the two looks.
        return stop_running_reply(conversation_id) or newest[0]
    return newest[0]


def stop_running_reply(conversation_id: UUID) -> UUID | None:
    """Stop the reply that is running in a conversation and wait until it is saved; return its id, None where none runs.

    Holds no connection while it waits. A reply whose worker is gone stays `streaming` until its heartbeat is too old.
    """
    running = Message.objects.in_conversation(conversation_id).running()
    reply_id = running.values_list("id", flat=True).first()
    if reply_id is not None:
        stop_one_reply(reply_id)
    return reply_id


def stop_one_reply(reply_id: UUID) -> None:
    """Stop this reply and wait until it is saved. Does nothing where it has ended."""
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
        if running.abandoned().update(status=Status.INTERRUPTED) or not running.exists():
            break
        release_connections()
        time.sleep(STOP_POLL_S)
