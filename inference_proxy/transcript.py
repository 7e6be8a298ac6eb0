"""What a running reply has said so far, for everyone who follows it.

Principle: one writer, any number of readers, and the writer never waits for a reader. Frames are only ever appended, each
with the *offset* after it: the length of the reply in code points. A follower is a position and a flag that wakes it; how
slowly it reads is its own affair.
"""

import threading
import time
from array import array
from bisect import bisect_right

import orjson

from chatapi.deadlines import Deadline
from inference_proxy.presence import Presence, always_present
from inference_proxy.protocols.base import load_object

# A reply that grows beyond one of these is cut off. The last two bound its memory: frames relay the inference service's
# objects unchanged, which may carry more than their text, and a frame costs a few hundred bytes however short it is.
MAX_REPLY_CHARACTERS = 1024 * 1024
MAX_REPLY_FRAMES = 65_536
MAX_REPLY_BYTES = 8 * 1024 * 1024

# The id of a reply's last frame, `done`. A client that has it has everything.
END_ID = "done"
# One JSON object for clients and its id: the offset after it, or END_ID. The `error` before the end has none, so that a
# client that reads it but not the end goes on behind the text.
Frame = tuple[int | str | None, bytes]


class Transcript:
    """The frames of one reply, and its text."""

    def __init__(self) -> None:
        # All payloads in one piece of memory, and where each ends: thousands of small objects would take four times as much.
        self._payloads = bytearray()
        self._ends = array("I")
        self._offsets = array("I")
        self._texts: list[str] = []
        self._closing: list[Frame] | None = None
        self._followers: dict[threading.Event, Presence] = {}
        self._had_followers = False
        self._joining = threading.Lock()
        self.length = 0

    @property
    def is_full(self) -> bool:
        """Whether the reply is longer than any reply may be."""
        return (
            self.length > MAX_REPLY_CHARACTERS or len(self._offsets) > MAX_REPLY_FRAMES or len(self._payloads) > MAX_REPLY_BYTES
        )

    def append(self, payload: bytes, text: str) -> None:
        """Add a frame. Followers see it at the next `wake`."""
        if text:
            self._texts.append(text)
            self.length += len(text)
        self._payloads += payload
        self._ends.append(len(self._payloads))
        # Last, because readers count these: what they count is there.
        self._offsets.append(self.length)

    def wake(self) -> None:
        """Tell every follower that there is more."""
        for wakeup in tuple(self._followers):
            wakeup.set()

    def close(self, frames: list[Frame]) -> None:
        """End the transcript with its closing frames. What it was first ended with counts."""
        if self._closing is None:
            self._closing = frames
        self.wake()

    def text(self) -> str:
        """Return the reply so far."""
        # Joined once and kept joined, so that a reply of thousands of tokens is not thousands of strings. The writer may
        # append meanwhile: that stays behind the slice.
        with self._joining:
            count = len(self._texts)
            joined = "".join(self._texts[:count])
            self._texts[:count] = [joined]
            return joined

    def follow(self, after: int, is_present: Presence = always_present) -> "TranscriptFollower":
        """Return a follower that starts behind the first `after` code points; `is_present` tells of its client."""
        return TranscriptFollower(self, after, is_present)

    def frames_from(self, position: int) -> tuple[list[Frame], int]:
        """Return the frames from a position on, and the position behind them."""
        end = len(self._offsets)
        return [(self._offsets[index], self._payload(index)) for index in range(position, end)], end

    def _payload(self, index: int) -> bytes:
        begin = self._ends[index - 1] if index else 0
        return bytes(self._payloads[begin : self._ends[index]])

    def position_after(self, offset: int) -> tuple[int, list[Frame]]:
        """Return the position of the first frame that lies behind an offset, and the rest of a frame that the offset cuts."""
        # From the start means all of it, frames without text that lead included.
        position = bisect_right(self._offsets, offset) if offset else 0
        begins = self._offsets[position - 1] if position else 0
        if position == len(self._offsets) or begins == offset:
            return position, []
        # Someone read part of this frame's text from the database, elsewhere. The rest is what they lack.
        end = self._offsets[position]
        event = load_object(self._payload(position))
        event["token"] = event["token"][offset - end :]
        return position + 1, [(end, orjson.dumps(event))]

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

    def remove_follower(self, wakeup: threading.Event) -> None:
        self._followers.pop(wakeup, None)


class TranscriptFollower:
    """Read a transcript from an offset to its end."""

    def __init__(self, transcript: Transcript, after: int, is_present: Presence) -> None:
        self._transcript = transcript
        self._after = after
        self._position: int | None = None
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
            frames = self._take()
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

    def _take(self) -> list[Frame]:
        # Clear before looking: what comes in between sets it again.
        self._wakeup.clear()
        closing = self._transcript.closing
        frames: list[Frame] = []
        if self._position is None:
            if self._transcript.length < self._after and closing is None:
                # Ahead of us: a client that saw more elsewhere. Wait until the reply is longer than what it has.
                return []
            self._position, frames = self._transcript.position_after(self._after)
        new, self._position = self._transcript.frames_from(self._position)
        frames += new
        # Read before the frames, so that none is missed: a closed transcript gets no more.
        if closing is not None:
            frames += closing
            self.has_ended = True
        return frames
