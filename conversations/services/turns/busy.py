"""What a send does where a reply is still running: a reply that nobody reads gives way, any other keeps its conversation.

Front-ends stop a reply by aborting their request, and then send the next message. The reply itself runs on, as it does for a
client that has lost its connection. What tells the two apart is that somebody sends and nobody follows.

Who follows is known at once in this process. Elsewhere it is noted on the reply's row: its own worker says so with each
checkpoint (`is_followed`), and a worker that polls it for a client twice a second (`followed_at`). A note that is older than
the question may be out of date, so the answer waits for a newer one, or for the time in which one would have come.
"""

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from django.conf import settings
from django.db.models.functions import Now

from chatapi.database import release_connections
from conversations.exceptions import GenerationInProgress
from conversations.models import Message, Status
from conversations.services.turns.begin import Turn
from conversations.services.turns.follow import reply_poller
from conversations.services.turns.poll import NOTE_LIFETIME_S
from conversations.services.turns.replies import live_replies
from conversations.services.turns.stop import stop_one_reply

# What the client wants done about a reply that is running.
WhenBusy = Literal["reject", "interrupt"]

# Others may begin a reply each time that one was stopped.
MOST_ATTEMPTS = 3
PAUSE_S = 0.1
# What a checkpoint, or a note of another worker, may be late.
LATENESS_S = 1.0


def begin_when_free(begin: Callable[[], Turn], when_busy: WhenBusy | None = None) -> Turn:
    """Begin a turn; where a reply is running that may be interrupted, stop it, keep its text, and begin then.

    Without `when_busy` a reply that nobody follows may be. `begin` is one of the verbs of `turns`. Holds no connection while
    it waits. Raises `GenerationInProgress`, and what `begin` raises.
    """
    stopped_id: UUID | None = None
    for _ in range(MOST_ATTEMPTS):
        try:
            return begin()
        except GenerationInProgress as refusal:
            release_connections()
            running_id = refusal.running_id
            if running_id is None:
                # It has ended since.
                continue
            # One that was stopped and runs on is out of reach.
            if when_busy == "reject" or running_id == stopped_id or (when_busy is None and is_followed(running_id)):
                raise
        stop_one_reply(running_id)
        stopped_id = running_id
    return begin()


def is_followed(reply_id: UUID) -> bool:
    """Tell whether any client, at any worker, follows a running reply. One that was begun in the background counts as followed.

    True where it can't be known in about two seconds: a reply that somebody may be reading is not to be stopped.
    """
    asked_at: datetime | None = None
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
        asked_at = asked_at or row["now"]
        verdicts = {_noted_elsewhere(row, asked_at), False if generation else _noted_by_its_worker(row, asked_at)}
        if True in verdicts:
            return True
        if verdicts == {False}:
            return False
        time.sleep(PAUSE_S)
    return True


def _read_notes(reply_id: UUID) -> dict[str, Any] | None:
    try:
        notes = Message.objects.filter(id=reply_id).annotate(now=Now())
        row = notes.values("status", "is_followed", "followed_at", "heartbeat_at", "now").first()
        return None if row is None else dict(row)
    finally:
        release_connections()


def _noted_by_its_worker(row: dict[str, Any], asked_at: datetime) -> bool | None:
    """Return what the worker that makes a reply said with its last checkpoint; None where that may be out of date."""
    if row["is_followed"] and row["heartbeat_at"] and row["heartbeat_at"] > asked_at:
        return True
    # Before its first checkpoint it is on its way to the client that asked for it.
    return False if row["is_followed"] is False else None


def _noted_elsewhere(row: dict[str, Any], asked_at: datetime) -> bool | None:
    followed_at = row["followed_at"]
    if followed_at is None or followed_at < row["now"] - timedelta(seconds=NOTE_LIFETIME_S):
        return False
    return True if followed_at > asked_at else None
