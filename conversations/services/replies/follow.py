"""Following a reply: from memory where it is generated in this process, from its row everywhere else."""

import threading
import time
from uuid import UUID

from django.db.models import F
from django.db.models.expressions import Expression
from django.db.models.functions import Length, Substr
from prometheus_client import Counter

from chatapi.database.connections import release_connections
from chatapi.database.failures import is_database_away
from conversations.models import Message, Status
from conversations.placeholders import TEXT
from conversations.services.replies import poll
from conversations.services.replies.poll import ReplyPoller, SharedReply
from conversations.services.replies.store import keeper_connections, live_replies
from inference_proxy.protocols.tool_calls import read_calls
from inference_proxy.replies.frames import MAX_OFFSET, START, Cursor, Frame, call_frames, cursor_of, frames_behind
from inference_proxy.replies.presence import Presence, always_present
from inference_proxy.replies.streams import Follower
from inference_proxy.replies.transcript import Transcript

ENDING_COLUMNS = ("status", "error_code", "token_count", "inference_time_ms", "finish_reason")

_resumes = Counter(
    "chat_resumes",
    "Followers of a reply that an earlier request began: from the memory of its worker, or from its row.",
    ["source"],
)
# Series that exist from the start, so that the first one counts as an increase.
_resumes_from_memory = _resumes.labels("memory")
_resumes_from_row = _resumes.labels("row")

reply_poller = ReplyPoller(lambda: live_replies.must_streams_end, keeper_connections.cursor)


def follow_reply(reply_id: UUID, after: Cursor = START, is_present: Presence = always_present) -> Follower:
    """Return a follower of a running or finished reply that starts after a cursor.

    `is_present` says whether the follower's client is still connected.
    """
    generation = live_replies.get(reply_id)
    if generation is None:
        _resumes_from_row.inc()
        return StoredFollower(reply_id, after, is_present)
    _resumes_from_memory.inc()
    return generation.transcript.follow(after, is_present)


def live_transcript(reply_id: UUID) -> Transcript | None:
    """Return what a reply that this process makes consists of so far, None if it makes no such reply."""
    generation = live_replies.get(reply_id)
    return None if generation is None else generation.transcript


def read_reasoning(reply_id: UUID, length: int) -> str:
    """Return the first `length` code points of a reply's reasoning. Holds no connection afterwards."""
    transcript = live_transcript(reply_id)
    if transcript is not None:
        return transcript.reasoning()[:length]
    try:
        beginning = Substr("reasoning", 1, length)
        return Message.objects.filter(id=reply_id).values_list(beginning, flat=True).first() or ""
    finally:
        release_connections()


class StoredFollower:
    """Follow a reply of another process, or one that has ended.

    It first reads the row. After that, the poller gives it new text. A checkpoint may end anywhere in the text, so its frames
    are pieces of text and not the model's tokens. The reasoning comes first, except for what came after the text began.
    """

    def __init__(self, reply_id: UUID, after: Cursor = START, is_present: Presence = always_present) -> None:
        self._reply_id = reply_id
        self._after = after
        self._is_present = is_present
        self._wakeup = threading.Event()
        self._shared: SharedReply | None = None
        self._away_since: float | None = None
        self.has_ended = False

    def read(self, timeout_s: float) -> list[Frame]:
        give_up_at = time.monotonic() + timeout_s
        while True:
            # Clear it before reading, so that text that arrives during the read sets it again.
            self._wakeup.clear()
            frames = self._take()
            if frames or self.has_ended:
                return frames
            if live_replies.must_streams_end or (self._shared is not None and self._shared.is_cut):
                # The reply continues in another process, so send no `done`. A client that reconnects gets it there.
                self.has_ended = True
                return []
            remaining_s = give_up_at - time.monotonic()
            if remaining_s <= 0:
                return []
            if self._shared is None:
                # The database is away.
                time.sleep(min(poll.POLL_SECONDS, remaining_s))
            else:
                self._wakeup.wait(remaining_s)

    def take(self) -> list[Frame]:
        # They are in the database.
        return []

    def close(self) -> None:
        reply_poller.leave(self._reply_id, self._wakeup)

    def _take(self) -> list[Frame]:
        if self._shared is not None and (found := self._shared.frames_after(self._after)) is not None:
            frames, self.has_ended = found
            return self._advance(frames)
        return self._read_row_patiently()

    def _advance(self, frames: list[Frame]) -> list[Frame]:
        for event_id, _ in frames:
            self._after = cursor_of(event_id) or self._after
        return frames

    def _read_row_patiently(self) -> list[Frame]:
        """Read the row. While the database is away, return nothing, as followers that read from memory get nothing then."""
        try:
            frames = self._read_row()
        except Exception as failure:
            if not is_database_away(failure):
                raise
            self._away_since = self._away_since or time.monotonic()
            if time.monotonic() - self._away_since <= poll.DATABASE_PATIENCE_S:
                return []
            self.has_ended = True
            return poll.lost_frames(self._reply_id)
        self._away_since = None
        return frames

    def _read_row(self) -> list[Frame]:
        after = self._after
        try:
            row = (
                Message.objects.filter(id=self._reply_id)
                .annotate(
                    reasoning_piece=_piece(F("reasoning"), after.reasoning),
                    reasoning_length=Length("reasoning"),
                    piece=_piece(TEXT, after.text),
                    length=Length(TEXT),
                )
                .values_list(
                    *("reasoning_piece", "reasoning_length", "reasoning_before_text", "piece", "length", "tool_calls"),
                    *ENDING_COLUMNS,
                )
                .first()
            )
        finally:
            release_connections()
        if row is None:
            self.has_ended = True
            return poll.deleted_frames(self._reply_id)
        reasoning, reasoning_length, before, text, length, calls, *ending = row
        if after.reasoning + len(reasoning) < (reasoning_length if before is None else before):
            # Too long for one read. The text waits for the rest of it.
            text = ""
        elif before is not None and after.text + len(text) < length:
            # What came later waits for the rest of the text.
            reasoning = reasoning[: max(0, before - after.reasoning)]
        frames = self._advance(frames_behind(after, reasoning=reasoning, text=text, reasoning_before_text=before))
        lengths = Cursor(length, reasoning_length)
        if ending[0] == Status.STREAMING:
            if self._shared is None:
                self._shared = reply_poller.join(self._reply_id, lengths, self._wakeup, self._is_present)
        elif self._after.covers(lengths):
            self.has_ended = True
            frames += call_frames(lengths, read_calls(calls), known=after.calls)
            frames += poll.ending_frames(self._reply_id, *ending)
        return frames


def _piece(column: Expression | F, after: int) -> Substr:
    return Substr(column, min(after + 1, MAX_OFFSET), poll.PIECE_CHARACTERS)
