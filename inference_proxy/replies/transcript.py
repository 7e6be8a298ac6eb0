"""What a running reply has said so far, for everyone who follows it.

Principle: one writer, any number of readers, and the writer never waits for a reader. Frames are only ever appended, each
with the *cursor* after it: the lengths of the reply's text and reasoning in code points. A follower is a position and a flag
that wakes it. A slow follower delays nothing.
"""

import threading
import time
from array import array
from bisect import bisect_right
from collections.abc import Sequence

import orjson

from chatapi.deadlines import Deadline
from inference_proxy.protocols.event_values import load_object
from inference_proxy.protocols.tool_calls import ToolCall
from inference_proxy.replies.frames import (
    START,
    Cursor,
    Frame,
    call_payload,
    frame_id,
    frames_behind,
    is_reasoning,
    reasoning_payload,
)
from inference_proxy.replies.presence import Presence, always_present

# A reply that grows beyond one of these, both channels together, is cut off. The last two bound its memory: frames relay the
# inference service's objects unchanged, which may carry more than their text, and a frame costs a few hundred bytes however
# short it is.
MAX_REPLY_CHARACTERS = 1024 * 1024
MAX_REPLY_FRAMES = 65_536
MAX_REPLY_BYTES = 8 * 1024 * 1024
# A follower that lacks more frames gets them merged: making and encoding 60,000 frames would take the worker 0.3 s.
MOST_SINGLE_FRAMES = 1024
# Of a long reply, a follower takes so much at a time. A client that reads slowly holds what was taken in memory.
MOST_BYTES_TAKEN = 128 * 1024


class Transcript:
    """The frames of one reply, its text, its reasoning and its calls."""

    def __init__(self) -> None:
        # All payloads in one piece of memory, and where each ends: thousands of small objects would take four times as much.
        self._payloads = bytearray()
        self._ends = array("I")
        # The cursor after each frame. The second array stays empty until there is reasoning: most replies have none.
        self._offsets = array("I")
        self._reasoning_offsets = array("I")
        self._texts: list[str] = []
        self._reasonings: list[str] = []
        # The calls, and the index of the first one's frame. All frames from there on are calls.
        self.calls: list[ToolCall] = []
        self._first_call: int | None = None
        self._closing: list[Frame] | None = None
        self._followers: dict[threading.Event, Presence] = {}
        self._had_followers = False
        self._joining = threading.Lock()
        self.length = 0
        self.reasoning_length = 0
        # How much reasoning there was when the text began.
        self._before_text: int | None = None

    @property
    def is_full(self) -> bool:
        """Whether the reply is longer than any reply may be."""
        return (
            self.length + self.reasoning_length > MAX_REPLY_CHARACTERS
            or len(self._offsets) > MAX_REPLY_FRAMES
            or len(self._payloads) > MAX_REPLY_BYTES
        )

    @property
    def has_text(self) -> bool:
        """Whether there is text, and not white space alone."""
        return bool(self.length) and not self.text().isspace()

    @property
    def reasoning_before_text(self) -> int | None:
        """How much of the reasoning came before the text, if more came later."""
        before = self._before_text
        return before if before is not None and before < self.reasoning_length else None

    def begin_with(self, text: str, reasoning: str, reasoning_before_text: int | None = None) -> None:
        """Add what an earlier generation of this reply has said."""
        for _, payload in frames_behind(START, reasoning=reasoning, text=text, reasoning_before_text=reasoning_before_text):
            piece = load_object(payload)
            if "reasoning" in piece:
                self.append_reasoning(piece["reasoning"])
            else:
                self.append(payload, piece["token"])

    def append(self, payload: bytes, text: str) -> None:
        """Add a frame with some text, or with none. Followers see it at the next `wake`."""
        try:
            self._payloads += payload
            self._ends.append(len(self._payloads))
            if self.reasoning_length:
                self._reasoning_offsets.append(self.reasoning_length)
            if text:
                self._texts.append(text)
            length = self.length + len(text)
            # Last, because readers count these: what they count is there.
            self._offsets.append(length)
        except MemoryError:
            # What is saved must be what is shown: no part of a frame stays.
            count = len(self._offsets)
            size = self._ends[count - 1] if count else 0
            del self._payloads[size:], self._ends[count:], self._reasoning_offsets[count:]
            if text and self._texts and self._texts[-1] is text:
                self._texts.pop()
            raise
        if text:
            if not self.length:
                self._before_text = self.reasoning_length
            self.length = length

    def append_reasoning(self, reasoning: str) -> None:
        """Add a frame with a piece of reasoning, which is not empty."""
        if not self.reasoning_length:
            # The frames before this one have no reasoning.
            self._reasoning_offsets = array("I", [0]) * len(self._offsets)
        payload = reasoning_payload(reasoning)
        self._reasonings.append(reasoning)
        self.reasoning_length += len(reasoning)
        try:
            self.append(payload, "")
        except MemoryError:
            if self._reasonings[-1] is reasoning:
                self._reasonings.pop()
                self.reasoning_length -= len(reasoning)
                if not self.reasoning_length:
                    del self._reasoning_offsets[:]
            raise

    def append_calls(self, calls: Sequence[ToolCall]) -> None:
        """Add the calls of the reply. No other frames follow them."""
        if calls:
            self._first_call = len(self._offsets)
        for call in calls:
            self.calls.append(call)
            self.append(call_payload(call), "")

    def wake(self) -> None:
        """Tell every follower that there is more."""
        for wakeup in tuple(self._followers):
            wakeup.set()

    def close(self, frames: list[Frame]) -> None:
        """End the transcript with its closing frames. Only the first call counts."""
        if self._closing is None:
            self._closing = frames
        self.wake()

    def text(self) -> str:
        """Return the text so far."""
        return self._join(self._texts)

    def reasoning(self) -> str:
        """Return the reasoning so far."""
        return self._join(self._reasonings)

    def _join(self, pieces: list[str]) -> str:
        # Joined once and kept joined, so that a reply of thousands of tokens is not thousands of strings. The writer may
        # append meanwhile: that stays behind the slice.
        with self._joining:
            count = len(pieces)
            joined = "".join(pieces[:count])
            pieces[:count] = [joined]
            return joined

    def follow(self, after: Cursor = START, is_present: Presence = always_present) -> "TranscriptFollower":
        """Return a follower that starts behind a cursor; `is_present` tells of its client."""
        return TranscriptFollower(self, after, is_present)

    def frames_from(self, position: int) -> tuple[list[Frame], int]:
        """Return the frames from a position on, and the position behind them. Many of them are merged.

        If there is much, there is more behind that position.
        """
        end = len(self._offsets)
        if end - position > 1:
            end = self._end_of_piece(position, end)
        if end - position > MOST_SINGLE_FRAMES:
            begin = end if self._first_call is None else max(position, self._first_call)
            called = [(frame_id(self._cursor_after(index)), self._payload(index)) for index in range(begin, end)]
            return self._merged_frames(position, begin) + called, end
        if not self._reasoning_offsets and self._first_call is None:
            return [(self._offsets[index], self._payload(index)) for index in range(position, end)], end
        return [(frame_id(self._cursor_after(index)), self._payload(index)) for index in range(position, end)], end

    def _end_of_piece(self, position: int, end: int) -> int:
        most = (self._ends[position - 1] if position else 0) + MOST_BYTES_TAKEN
        if self._ends[end - 1] <= most:
            return end
        return max(position + 1, bisect_right(self._ends, most, position, end))

    def _merged_frames(self, position: int, end: int) -> list[Frame]:
        """Return the text and reasoning between two positions: one frame until the other channel goes on."""
        cursor, text = self._cursor_after(position - 1), self.text()
        if not self._reasoning_offsets:
            return frames_behind(cursor, reasoning="", text=text[cursor.text : self._offsets[end - 1]])
        reasoning, frames = self.reasoning(), list[Frame]()
        while position < end:
            position = bisect_right(self._offsets, cursor.text, position, end)
            thought = Cursor(cursor.text, self._cursor_after(position - 1).reasoning)
            frames += frames_behind(cursor, reasoning=reasoning[cursor.reasoning : thought.reasoning], text="")
            position = bisect_right(self._reasoning_offsets, thought.reasoning, position, end)
            cursor = self._cursor_after(position - 1)
            frames += frames_behind(thought, reasoning="", text=text[thought.text : cursor.text])
        return frames

    def frames_lacked(self, position: int, cursor: Cursor) -> tuple[list[Frame], int, bool]:
        """Return what a client with this cursor lacks of the frames from a position on, and the position behind them.

        Also return whether the client has caught up: it has the frames before that position and nothing else.
        """
        end = len(self._offsets)
        first = bisect_right(self._offsets, cursor.text, position, end)
        if self._reasoning_offsets:
            first = min(first, bisect_right(self._reasoning_offsets, cursor.reasoning, position, end))
        if self._first_call is not None:
            first = min(first, max(position, self._first_call + cursor.calls))
        frames: list[Frame] = []
        for index in range(first, end):
            if self._cursor_after(index - 1).covers(cursor):
                rest, end = self.frames_from(index)
                return frames + rest, end, True
            frames += self._rest_of_frame(index, cursor)
        return frames, end, self._cursor_after(end - 1).covers(cursor)

    def _rest_of_frame(self, index: int, cursor: Cursor) -> list[Frame]:
        """Return what a client with this cursor lacks of a frame, if it lacks any of it."""
        # A client that has read the row elsewhere may have part of this frame, or more of one channel than of the other.
        begin, end, payload = self._cursor_after(index - 1), self._cursor_after(index), self._payload(index)
        if end.calls:
            return [(frame_id(end.joined(cursor)), payload)] if end.calls > cursor.calls else []
        if is_reasoning(payload):
            key, length, lacked = "reasoning", end.reasoning - begin.reasoning, end.reasoning - cursor.reasoning
        else:
            key, length, lacked = "token", end.text - begin.text, end.text - cursor.text
        if lacked <= 0 or not length:
            return []
        if lacked < length:
            event = load_object(payload)
            event[key] = event[key][-lacked:]
            payload = orjson.dumps(event)
        return [(frame_id(end.joined(cursor)), payload)]

    def _cursor_after(self, index: int) -> Cursor:
        """Return the cursor after a frame; at -1, the start."""
        if index < 0:
            return START
        calls = 0 if self._first_call is None else max(0, index - self._first_call + 1)
        return Cursor(self._offsets[index], self._reasoning_offsets[index] if self._reasoning_offsets else 0, calls)

    def _payload(self, index: int) -> bytes:
        begin = self._ends[index - 1] if index else 0
        return bytes(self._payloads[begin : self._ends[index]])

    @property
    def frame_count(self) -> int:
        return len(self._offsets)

    @property
    def closing(self) -> list[Frame] | None:
        return self._closing

    def add_follower(self, wakeup: threading.Event, is_present: Presence) -> None:
        self._followers[wakeup] = is_present
        self._had_followers = True

    @property
    def is_followed(self) -> bool:
        """Whether a client follows that is still there. One that has just begun is about to be followed."""
        return not self._had_followers or any(is_present() for is_present in tuple(self._followers.values()))

    @property
    def follower_count(self) -> int:
        return len(self._followers)

    def remove_follower(self, wakeup: threading.Event) -> None:
        self._followers.pop(wakeup, None)


class TranscriptFollower:
    """Read a transcript from a cursor to its end."""

    def __init__(self, transcript: Transcript, after: Cursor, is_present: Presence) -> None:
        self._transcript = transcript
        self._position = 0
        # What the client has of the frames behind the position, None if nothing. A client without anything also gets the frames
        # without text at the beginning.
        self._after = None if after == START else after
        self._wakeup = threading.Event()
        # Set, because there may be something to take.
        self._wakeup.set()
        # When the silence has lasted long enough. A wait with a time limit would cost a timer for every token.
        self._silence: Deadline | None = None
        self.has_ended = False
        transcript.add_follower(self._wakeup, is_present)

    def read(self, timeout_s: float) -> list[Frame]:
        """Return the frames that are new, waiting for the first; none after `timeout_s` of silence."""
        silence: Deadline | None = None
        while True:
            if not self._wakeup.is_set():
                silence = silence or self._expect_frames_by(time.monotonic() + timeout_s)
                self._wakeup.wait()
            # A wake-up may bring nothing: what it announced was taken with the frames before it, or lies before `after`.
            frames = self.take()
            if frames or (silence is not None and silence.is_over):
                return frames

    def close(self) -> None:
        self._transcript.remove_follower(self._wakeup)
        if self._silence is not None:
            self._silence.cancel()

    def _expect_frames_by(self, at: float) -> Deadline:
        if self._silence is None or self._silence.is_over:
            self._silence = Deadline(at, self._wakeup.set)
        else:
            self._silence.move(at)
        return self._silence

    def take(self) -> list[Frame]:
        """Return the frames that are new, without waiting."""
        # Clear before looking: what comes in between sets it again.
        self._wakeup.clear()
        closing = self._transcript.closing
        if self._after is None:
            frames, self._position = self._transcript.frames_from(self._position)
        else:
            frames, self._position, has_caught_up = self._transcript.frames_lacked(self._position, self._after)
            if has_caught_up:
                self._after = None
        if self._position < self._transcript.frame_count:
            # There is more than was taken.
            self._wakeup.set()
        elif closing is not None:
            # Read before the frames, so that none is missed: a closed transcript gets no more.
            frames += closing
            self.has_ended = True
        return frames
