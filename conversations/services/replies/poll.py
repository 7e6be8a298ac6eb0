"""Read the replies of other processes: one thread per process and one statement per round, for any number of followers.

Principle: more followers of a reply cost the database nothing. The poller reads the rows of all followed replies in one
statement, only the new text and reasoning of each, and wakes the followers, which wait as they would for a transcript. It keeps
only the newest part of both channels. A follower that is further back reads the row itself (see `follow`).
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from chatapi.database.connections import Cursors, own_cursor
from chatapi.database.failures import is_database_away
from conversations.models import Status
from conversations.placeholders import TEXT_SQL
from inference_proxy.exceptions import FAILURES, NotSaved, UpstreamError
from inference_proxy.protocols.tool_calls import ToolCall, read_calls
from inference_proxy.replies.frames import Cursor, Frame, call_frames, closing_frames, frames_behind
from inference_proxy.replies.presence import Presence

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.5
# As long as a generation retries to save its reply.
DATABASE_PATIENCE_S = 60.0
# The most characters of each channel of a reply that are read at once, and kept. A client that reads slowly holds as many.
PIECE_CHARACTERS = 64 * 1024
# How often a note is renewed, and how long it is valid: two rounds may be late or find the row locked.
NOTE_EVERY_S = 0.9
NOTE_LIFETIME_S = 2.0

# octet_length does not read a text that is stored out of line, so a reply that has not grown costs almost nothing.
#
# The same statement notes for other workers that this worker has followers. It skips locked rows until the next round: waiting
# for them while holding others could deadlock with the checkpoint of the worker that makes the replies.
POLL_SQL = f"""
WITH noted AS (
    UPDATE messages SET followed_at = now() WHERE id IN (
        SELECT id FROM messages
        WHERE id = ANY(%(followed_ids)s::uuid[]) AND status = 'streaming'
          AND (followed_at IS NULL OR followed_at < now() - make_interval(secs => %(note_every_s)s))
        FOR UPDATE SKIP LOCKED
    )
)
SELECT message.id, octet_length(message.reasoning), reasoning.length, reasoning.piece,
       octet_length(message.text), grown.length, grown.piece,
       message.reasoning_before_text,
       CASE WHEN message.status <> 'streaming' THEN message.tool_calls END,
       message.status, message.error_code, message.token_count, message.inference_time_ms, message.finish_reason
FROM unnest(%(ids)s::uuid[], %(lengths)s::int[], %(sizes)s::int[], %(reasoning_lengths)s::int[], %(reasoning_sizes)s::int[])
    AS known (id, length, size, reasoning_length, reasoning_size)
JOIN (SELECT *, {TEXT_SQL} AS text FROM messages) AS message ON message.id = known.id
LEFT JOIN LATERAL (
    SELECT length(message.text) AS length, substr(message.text, known.length + 1, %(piece)s) AS piece
    WHERE octet_length(message.text) <> known.size
) AS grown ON true
LEFT JOIN LATERAL (
    SELECT length(message.reasoning) AS length, substr(message.reasoning, known.reasoning_length + 1, %(piece)s) AS piece
    WHERE octet_length(message.reasoning) <> known.reasoning_size
) AS reasoning ON true
"""  # noqa: S608


@dataclass(eq=False, slots=True)
class SharedChannel:
    """The newest part of one channel of a reply, text or reasoning."""

    # Where the part begins, and the part. One value, because both change together.
    window: tuple[int, str]
    # The size of the row's column in bytes, once all of that is known here.
    size: int = -1

    @property
    def length(self) -> int:
        begin, part = self.window
        return begin + len(part)

    def take(self, size: int, length: int | None, piece: str | None) -> bool:
        """Add what was read of the row, None if it has not grown. Return whether all of it is known now."""
        if piece:
            begin, part = self.window
            kept = (part + piece)[-PIECE_CHARACTERS:]
            self.window = (begin + len(part) + len(piece) - len(kept), kept)
        if length is not None and self.length >= length:
            self.size = size
        return self.size == size

    def after(self, offset: int) -> str | None:
        """Return the part after an offset, or None if the kept part begins later."""
        begin, part = self.window
        return None if offset < begin else part[offset - begin :]


@dataclass(eq=False, slots=True)
class SharedReply:
    """The newest parts of another process's reply, and its end. The poller writes it, followers read it."""

    text: SharedChannel
    reasoning: SharedChannel
    # As in the row.
    reasoning_before_text: int | None = None
    # Set when both channels are whole.
    closing: list[Frame] | None = None
    # Of the reply, known before it is closed.
    calls: tuple[ToolCall, ...] = ()
    # Set if this process ends before the reply does.
    is_cut: bool = False
    followers: dict[threading.Event, Presence] = field(default_factory=dict)

    def take(self, reasoning: tuple[Any, ...], text: tuple[Any, ...]) -> bool:
        """Add what was read of the row's channels. Return whether all of them is known now."""
        # A text whose reasoning is too long for one round waits for the rest of it.
        return self.reasoning.take(*reasoning) and self.text.take(*text)

    def frames_after(self, cursor: Cursor) -> tuple[list[Frame], bool] | None:
        """Return the frames after a cursor and whether they are the last, or None if a kept part begins later."""
        closing = self.closing
        text, reasoning = self.text.after(cursor.text), self.reasoning.after(cursor.reasoning)
        if text is None or reasoning is None:
            return None
        before = self.reasoning_before_text
        frames = frames_behind(cursor, reasoning=reasoning, text=text, reasoning_before_text=before)
        # `closing` was read before the parts, and a reply that has ended does not grow, so nothing is missed.
        if closing is None:
            return frames, False
        called = call_frames(Cursor(self.text.length, self.reasoning.length), self.calls, known=cursor.calls)
        return frames + called + closing, True

    @property
    def is_followed(self) -> bool:
        """Whether any follower's client is still connected."""
        return any(is_present() for is_present in tuple(self.followers.values()))

    def wake(self) -> None:
        for wakeup in tuple(self.followers):
            wakeup.set()


class ReplyPoller:
    """The replies of other processes that this process follows."""

    def __init__(self, must_end: Callable[[], bool], cursor: Cursors = own_cursor) -> None:
        self._must_end = must_end
        self._cursor = cursor
        self._replies: dict[UUID, SharedReply] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._away_since: float | None = None

    def join(self, reply_id: UUID, lengths: Cursor, wakeup: threading.Event, is_present: Presence) -> SharedReply:
        """Add a follower, which is woken when the reply changes. `lengths` are those of the row when it was last read."""
        with self._lock:
            reply = self._replies.get(reply_id)
            if reply is None or reply.closing is not None:
                # This follower has just read a running reply; an entry that has ended waits only for its followers to leave.
                reply = SharedReply(SharedChannel((lengths.text, "")), SharedChannel((lengths.reasoning, "")))
                self._replies[reply_id] = reply
            reply.followers[wakeup] = is_present
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="reply-poller", daemon=True)
                self._thread.start()
            return reply

    def leave(self, reply_id: UUID, wakeup: threading.Event) -> None:
        """Remove a follower, and with the last one the reply."""
        with self._lock:
            reply = self._replies.get(reply_id)
            if reply is not None:
                reply.followers.pop(wakeup, None)
                if not reply.followers:
                    del self._replies[reply_id]

    def is_followed(self, reply_id: UUID) -> bool:
        """Whether a connected client of this process follows a reply."""
        reply = self._replies.get(reply_id)
        return reply is not None and reply.is_followed

    @property
    def follower_count(self) -> int:
        return sum(len(reply.followers) for reply in tuple(self._replies.values()))

    def _run(self) -> None:
        """Poll while there is a reply to follow."""
        while True:
            with self._lock:
                replies = {reply_id: reply for reply_id, reply in self._replies.items() if reply.closing is None}
                if not self._replies:
                    self._thread = None
                    return
            try:
                if replies:
                    self._poll_patiently(replies)
            except Exception:
                # The poller must survive any failure of one round.
                logger.exception("polling for replies failed")
            if self._must_end():
                for reply in replies.values():
                    reply.is_cut = True
                    reply.wake()
            time.sleep(POLL_SECONDS)

    def _poll_patiently(self, replies: dict[UUID, SharedReply]) -> None:
        """Poll. While the database is away, followers get nothing, like those that read from memory."""
        try:
            self._poll(replies)
        except Exception as failure:
            if not is_database_away(failure):
                raise
            self._away_since = self._away_since or time.monotonic()
            if time.monotonic() - self._away_since > DATABASE_PATIENCE_S:
                for reply_id, reply in replies.items():
                    reply.closing = lost_frames(reply_id)
                    reply.wake()
        else:
            self._away_since = None

    def _poll(self, replies: dict[UUID, SharedReply]) -> None:
        values = {
            "ids": list(replies),
            "lengths": [reply.text.length for reply in replies.values()],
            "sizes": [reply.text.size for reply in replies.values()],
            "reasoning_lengths": [reply.reasoning.length for reply in replies.values()],
            "reasoning_sizes": [reply.reasoning.size for reply in replies.values()],
            "piece": PIECE_CHARACTERS,
            "followed_ids": [reply_id for reply_id, reply in replies.items() if reply.is_followed],
            "note_every_s": NOTE_EVERY_S,
        }
        with self._cursor() as cursor:
            cursor.execute(POLL_SQL, values)
            rows = {row[0]: row[1:] for row in cursor.fetchall()}
        for reply_id, reply in replies.items():
            row = rows.get(reply_id)
            if row is None:
                reply.closing = deleted_frames(reply_id)
                reply.wake()
                continue
            reasoning, text, calls, ending = row[:3], row[3:6], row[7], row[8:]
            reply.reasoning_before_text = row[6]
            if reply.take(reasoning, text) and ending[0] != Status.STREAMING:
                reply.calls = read_calls(calls)
                reply.closing = ending_frames(reply_id, *ending)
            if reasoning[-1] or text[-1] or reply.closing is not None:
                reply.wake()


def ending_frames(
    reply_id: UUID,
    status: str,
    error_code: str | None,
    token_count: int | None,
    inference_time_ms: int | None,
    finish_reason: str | None,
) -> list[Frame]:
    """Return the frames that end the stream of a reply with these values."""
    return closing_frames(
        message_id=reply_id,
        status=status,
        failure=FAILURES.get(error_code or "", UpstreamError)() if status == Status.FAILED else None,
        token_count=token_count or 0,
        inference_time_ms=inference_time_ms or 0,
        finish_reason=finish_reason or "",
    )


def deleted_frames(reply_id: UUID) -> list[Frame]:
    """Return the frames for a reply that was deleted with its conversation. Deleting stops a reply."""
    return ending_frames(reply_id, Status.STOPPED, None, None, None, None)


def lost_frames(reply_id: UUID) -> list[Frame]:
    """Return the frames for a database that stays away.

    This process can't know whether the reply continues. The client can reconnect for the rest.
    """
    return closing_frames(
        message_id=reply_id,
        status=Status.INTERRUPTED,
        failure=NotSaved(),
        token_count=0,
        inference_time_ms=0,
        finish_reason="",
    )
