"""Sending while a reply runs: the send stops a reply without followers, and is refused while a reply has any.

Front-ends stop a reply by aborting their request, and then send the next message. The aborted reply keeps running, because it
may belong to a client that lost its connection and will come back. If a new message arrives and no client follows the reply,
the user most likely stopped it.

A worker knows its own followers. It learns of others from two notes on the reply's row: the worker that makes the reply writes
`is_followed` with each checkpoint, and a worker that polls the reply for its clients writes `followed_at`. A note from before
the question may be out of date, so `is_followed` waits until there is a newer one or until one would have come.
"""

import logging
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import DatabaseError
from django.db.models.expressions import RawSQL
from django.db.models.functions import Now

from chatapi.database.connections import release_connections
from conversations.exceptions import GenerationInProgress, MessagesWait
from conversations.models import Message, Status
from conversations.services.replies.follow import reply_poller
from conversations.services.replies.poll import NOTE_LIFETIME_S
from conversations.services.replies.queued_rows import hold_behind, release
from conversations.services.replies.stop import stop_one_reply
from conversations.services.replies.store import live_replies
from conversations.services.sending.permits import ahead_of_queue, inherited_permit
from conversations.services.sending.queue_keeper import queue_keeper
from conversations.services.sending.turn import Turn
from conversations.when_busy import WhenBusy

logger = logging.getLogger(__name__)

# After each stop, another request may begin a reply first.
MOST_ATTEMPTS = 3
PAUSE_S = 0.1
# How late a checkpoint or another worker's note may be.
LATENESS_S = 1.0


def begin_when_free(
    begin: Callable[[], Turn], when_busy: WhenBusy | None = None, enqueue: Callable[[], Turn | None] | None = None
) -> Turn:
    """Begin a turn. If a reply is running that may be interrupted, stop it first; its text is kept.

    Without `when_busy`, a reply without followers may be interrupted. `begin` calls one of the functions of `sending.begin`.
    `enqueue` has the message wait, or returns None if there is nothing to wait for. Messages that wait already go before this
    one, unless a reply was stopped for it, or `enqueue` is None: then it can't wait. Holds no connection while it waits. Raises
    `GenerationInProgress`, and what `begin` and `enqueue` raise.
    """
    stopped_id: UUID | None = None
    held: list[UUID] = []
    try:
        for _ in range(MOST_ATTEMPTS):
            try:
                return _begin_after(stopped_id, begin)
            except GenerationInProgress as refusal:
                release_connections()
                if enqueue is None and isinstance(refusal, MessagesWait):
                    begin = _ahead(begin)
                    continue
                if enqueue is not None and (when_busy == "enqueue" or isinstance(refusal, MessagesWait)):
                    if (turn := _enqueue(enqueue)) is not None:
                        return turn
                    continue
                running_id = refusal.running_id
                if running_id is None:
                    # It has ended in the meantime.
                    continue
                # If it still runs after a stop, its worker can't be reached.
                may_stop = when_busy == "interrupt" or (when_busy is None and not is_followed(running_id))
                if running_id == stopped_id or not may_stop:
                    raise
            held += hold_behind(running_id)
            stop_one_reply(running_id)
            stopped_id = running_id
        return _begin_after(stopped_id, begin)
    finally:
        _release(held)


def _ahead(begin: Callable[[], Turn]) -> Callable[[], Turn]:
    def begin_ahead() -> Turn:
        with ahead_of_queue():
            return begin()

    return begin_ahead


def _release(held: list[UUID]) -> None:
    try:
        if held:
            release(held)
    except DatabaseError:
        # The turn itself may be saved. They wait for the next send or for their user.
        logger.warning("held messages not released")


def _enqueue(enqueue: Callable[[], Turn | None]) -> Turn | None:
    queue_keeper.keep()
    return enqueue()


def _begin_after(stopped_id: UUID | None, begin: Callable[[], Turn]) -> Turn:
    """Begin a turn. If a reply was stopped for it, the new one takes its place."""
    if stopped_id is None:
        return begin()
    with inherited_permit():
        return begin()


def is_followed(reply_id: UUID) -> bool:
    """Return whether any client at any worker follows a running reply. A reply begun in the background counts as followed.

    Waits for notes from other workers, by default for at most three seconds. If they don't come, returns True: a client may be
    reading the reply.
    """
    first_look: dict[str, Any] | None = None
    give_up_at = time.monotonic() + max(NOTE_LIFETIME_S, settings.CHECKPOINT_SECONDS) + LATENESS_S
    while time.monotonic() < give_up_at:
        if reply_poller.is_followed(reply_id):
            return True
        generation = live_replies.get(reply_id)
        if generation is not None and generation.is_followed:
            return True
        row = _read_notes(reply_id)
        if row is None or row["status"] != Status.STREAMING:
            return False
        first_look = first_look or row
        verdicts = {_noted_elsewhere(row, first_look["now"]), False if generation else _noted_by_its_worker(row, first_look)}
        if True in verdicts:
            return True
        if verdicts == {False}:
            return False
        time.sleep(PAUSE_S)
    return True


def _read_notes(reply_id: UUID) -> dict[str, Any] | None:
    try:
        # The id of the transaction that last wrote the row.
        notes = Message.objects.filter(id=reply_id).annotate(now=Now(), written_by=RawSQL("messages.xmin::text", ()))
        row = notes.values("status", "is_followed", "followed_at", "heartbeat_at", "worker", "written_by", "now").first()
        return None if row is None else dict(row)
    finally:
        release_connections()


def _noted_by_its_worker(row: dict[str, Any], first_look: dict[str, Any]) -> bool | None:
    """Return what the last checkpoint of the reply's worker says, or None if that may be out of date."""
    if row["is_followed"] and _is_newer(row, first_look):
        return True
    # Null before the first checkpoint, while the client that asked for the reply connects.
    return False if row["is_followed"] is False else None


def _is_newer(row: dict[str, Any], first_look: dict[str, Any]) -> bool:
    """Whether a checkpoint has written the row since the first look."""
    if row["worker"] is not None:
        return bool(row["written_by"] != first_look["written_by"])
    # A worker of the version before renews a heartbeat.
    return row["heartbeat_at"] is not None and row["heartbeat_at"] > first_look["now"]


def _noted_elsewhere(row: dict[str, Any], asked_at: datetime) -> bool | None:
    followed_at = row["followed_at"]
    if followed_at is None or followed_at < row["now"] - timedelta(seconds=NOTE_LIFETIME_S):
        return False
    return True if followed_at > asked_at else None
