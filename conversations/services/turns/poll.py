"""Read the replies of other processes: one thread per process and one statement per round, for any number of followers.

Principle: more followers of a reply cost the database nothing. The poller reads the rows of all followed replies in one
statement, only the new text of each, and wakes the followers, which wait as they would for a transcript. It keeps only the
newest part of each text. A follower that is further back reads the row itself (see `follow`).
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import UUID

import orjson

from chatapi.database import Cursors, is_database_away, own_cursor
from conversations.models import Status
from inference_proxy.exceptions import FAILURES, NotSaved, UpstreamError
from inference_proxy.generation import closing_frames
from inference_proxy.presence import Presence
from inference_proxy.transcript import Frame

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.5
# As long as a generation retries to save its reply.
DATABASE_PATIENCE_S = 60.0
# The most characters of a reply that are read at once, and kept.
PIECE_CHARACTERS = 256 * 1024
# How often a note is renewed, and how long it is valid: two rounds may be late or find the row locked.
NOTE_EVERY_S = 0.9
NOTE_LIFETIME_S = 2.0

# octet_length does not read a text that is stored out of line, so a reply that has not grown costs almost nothing.
#
# The same statement notes for other workers that this worker has followers. It skips locked rows until the next round: waiting
# for them while holding others could deadlock with the checkpoint of the worker that makes the replies.
POLL_SQL = """
WITH noted AS (
    UPDATE messages SET followed_at = now() WHERE id IN (
        SELECT id FROM messages
        WHERE id = ANY(%(followed_ids)s::uuid[]) AND status = 'streaming'
          AND (followed_at IS NULL OR followed_at < now() - make_interval(secs => %(note_every_s)s))
        FOR UPDATE SKIP LOCKED
    )
)
SELECT message.id, message.status, message.error_code, message.token_count, message.inference_time_ms,
       octet_length(message.content), grown.length, grown.piece
FROM unnest(%(ids)s::uuid[], %(lengths)s::int[], %(sizes)s::int[]) AS known (id, length, size)
JOIN messages AS message ON message.id = known.id
LEFT JOIN LATERAL (
    SELECT length(message.content) AS length, substr(message.content, known.length + 1, %(piece)s) AS piece
    WHERE octet_length(message.content) <> known.size
) AS grown ON true
"""


@dataclass(eq=False, slots=True)
class SharedReply:
    """The newest part of another process's reply, and its end. The poller writes it, followers read it."""

    # Where the text begins, and the text. One value, because both change together.
    window: tuple[int, str]
    # The size of the row's text in bytes, once all of that is known here.
    size: int = -1
    # Set when the text is whole.
    closing: list[Frame] | None = None
    # Set if this process ends before the reply does.
    is_cut: bool = False
    followers: dict[threading.Event, Presence] = field(default_factory=dict)

    @property
    def length(self) -> int:
        begin, text = self.window
        return begin + len(text)

    def add(self, piece: str) -> None:
        begin, text = self.window
        kept = (text + piece)[-PIECE_CHARACTERS:]
        self.window = (begin + len(text) + len(piece) - len(kept), kept)

    def frames_after(self, offset: int) -> tuple[list[Frame], bool] | None:
        """Return the frames after an offset and whether they are the last, or None if the kept text begins later."""
        closing = self.closing
        begin, text = self.window
        if offset < begin:
            return None
        frames = text_frames(offset, text[offset - begin :])
        # `closing` was read before the text, and a reply that has ended does not grow, so no text is missed.
        return (frames, False) if closing is None else (frames + closing, True)

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

    def join(self, reply_id: UUID, length: int, wakeup: threading.Event, is_present: Presence) -> SharedReply:
        """Add a follower, which is woken when the reply changes. `length` is that of the row's text when it was last read."""
        with self._lock:
            reply = self._replies.get(reply_id)
            if reply is None or reply.closing is not None:
                # This follower has just read a running reply; an entry that has ended waits only for its followers to leave.
                reply = self._replies[reply_id] = SharedReply(window=(length, ""))
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
            "lengths": [reply.length for reply in replies.values()],
            "sizes": [reply.size for reply in replies.values()],
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
            *ending, size, length, piece = row
            if piece:
                reply.add(piece)
            if length is not None and reply.length >= length:
                reply.size = size
            has_ended = ending[0] != Status.STREAMING and reply.size == size
            if has_ended:
                reply.closing = ending_frames(reply_id, *ending)
            if piece or has_ended:
                reply.wake()


def text_frames(offset: int, text: str) -> list[Frame]:
    """Return the frame for a piece of text that begins at an offset, or no frame if it is empty."""
    return [(offset + len(text), orjson.dumps({"token": text}))] if text else []


def ending_frames(
    reply_id: UUID, status: str, error_code: str | None, token_count: int | None, inference_time_ms: int | None
) -> list[Frame]:
    """Return the frames that end the stream of a reply with these values."""
    return closing_frames(
        message_id=reply_id,
        status=status,
        failure=FAILURES.get(error_code or "", UpstreamError)() if status == Status.FAILED else None,
        token_count=token_count or 0,
        inference_time_ms=inference_time_ms or 0,
    )


def deleted_frames(reply_id: UUID) -> list[Frame]:
    """Return the frames for a reply that was deleted with its conversation. Deleting stops a reply."""
    return ending_frames(reply_id, Status.STOPPED, None, None, None)


def lost_frames(reply_id: UUID) -> list[Frame]:
    """Return the frames for a database that stays away.

    This process can't know whether the reply continues. The client can reconnect for the rest.
    """
    return closing_frames(
        message_id=reply_id, status=Status.INTERRUPTED, failure=NotSaved(), token_count=0, inference_time_ms=0
    )
