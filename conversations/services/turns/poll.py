"""Reading replies that are made elsewhere: one thread a process, one statement a round, whatever the number of followers.

Principle: a follower costs the database nothing. The poller reads the rows of all followed replies at once, only what is new
in each, and wakes the followers; those wait for it as they would for a transcript. It keeps the newest part of each text and
nothing else: a follower that is further back reads its part from the row by itself (see `following`).
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
# As long as a generation tries to save its reply.
DATABASE_PATIENCE_S = 60.0
# At most so much of a reply is read at once, and kept.
PIECE_CHARACTERS = 256 * 1024
# Twice a poll, and how long that holds: a note that was to be renewed is not, where two rounds are late or find the row locked.
NOTE_EVERY_S = 0.9
NOTE_LIFETIME_S = 2.0

# octet_length needs no look at a text that is stored out of line, so replies that have not grown cost next to nothing.
#
# The same statement notes that clients are here, for other workers to know. Rows that are locked are left for the next round:
# to wait for them with others locked could end in a deadlock with the checkpoint of the worker that makes the replies.
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
    """The newest part of a reply that is made elsewhere, and how it ended. The poller writes it, followers read it."""

    # Where the text begins, and the text: one value, because they change together.
    window: tuple[int, str]
    # What the row holds where all of it is known, in bytes.
    size: int = -1
    # Set when the text is whole.
    closing: list[Frame] | None = None
    # Set where this process ends before the reply does.
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
        """Return the frames behind an offset and whether they are the last; None where the text begins later."""
        closing = self.closing
        begin, text = self.window
        if offset < begin:
            return None
        frames = text_frames(offset, text[offset - begin :])
        # Read before the text, so that none is missed: a reply that has ended does not grow.
        return (frames, False) if closing is None else (frames + closing, True)

    @property
    def is_followed(self) -> bool:
        """Whether a client follows that is still there."""
        return any(is_present() for is_present in tuple(self.followers.values()))

    def wake(self) -> None:
        for wakeup in tuple(self.followers):
            wakeup.set()


class ReplyPoller:
    """The replies that this process follows although another makes them."""

    def __init__(self, must_end: Callable[[], bool], cursor: Cursors = own_cursor) -> None:
        self._must_end = must_end
        self._cursor = cursor
        self._replies: dict[UUID, SharedReply] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._away_since: float | None = None

    def join(self, reply_id: UUID, length: int, wakeup: threading.Event, is_present: Presence) -> SharedReply:
        """Have a follower woken when a reply changes; `length` is what its row held a moment ago."""
        with self._lock:
            reply = self._replies.get(reply_id)
            if reply is None or reply.closing is not None:
                # One that has ended waits only for its followers to leave. This follower knows better.
                reply = self._replies[reply_id] = SharedReply(window=(length, ""))
            reply.followers[wakeup] = is_present
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="reply-poller", daemon=True)
                self._thread.start()
            return reply

    def leave(self, reply_id: UUID, wakeup: threading.Event) -> None:
        """Forget a follower, and with the last one its reply."""
        with self._lock:
            reply = self._replies.get(reply_id)
            if reply is not None:
                reply.followers.pop(wakeup, None)
                if not reply.followers:
                    del self._replies[reply_id]

    def is_followed(self, reply_id: UUID) -> bool:
        """Whether a client follows a reply from here that is still there."""
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
                # The poller must outlive whatever goes wrong in one round.
                logger.exception("polling for replies failed")
            if self._must_end():
                for reply in replies.values():
                    reply.is_cut = True
                    reply.wake()
            time.sleep(POLL_SECONDS)

    def _poll_patiently(self, replies: dict[UUID, SharedReply]) -> None:
        """Poll; a database that is away for a while is silence, as it is to those who read from memory."""
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
    """Return the frame of a piece of a reply's text that begins at an offset; none where it is empty."""
    return [(offset + len(text), orjson.dumps({"token": text}))] if text else []


def ending_frames(
    reply_id: UUID, status: str, error_code: str | None, token_count: int | None, inference_time_ms: int | None
) -> list[Frame]:
    """Return the frames that end the stream of a reply whose row says this."""
    return closing_frames(
        message_id=reply_id,
        status=status,
        failure=FAILURES.get(error_code or "", UpstreamError)() if status == Status.FAILED else None,
        token_count=token_count or 0,
        inference_time_ms=inference_time_ms or 0,
    )


def deleted_frames(reply_id: UUID) -> list[Frame]:
    """Return the frames that end the stream of a reply that was deleted with its conversation, which stops a reply."""
    return ending_frames(reply_id, Status.STOPPED, None, None, None)


def lost_frames(reply_id: UUID) -> list[Frame]:
    """Return the frames for a database that stays away.

    Whether the reply goes on can't be known from here; the client can come back for the rest.
    """
    return closing_frames(
        message_id=reply_id, status=Status.INTERRUPTED, failure=NotSaved(), token_count=0, inference_time_ms=0
    )
