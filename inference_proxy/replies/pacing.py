"""How long the reader of a reply rests between two reads.

A read, a wake-up and a write cost more than a token. So where many replies share a process, each reader lets several tokens
gather. The cost of a token then falls as the number of replies grows, and the delay grows with it.
"""

import math
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from chatapi.incoming.admission import do_requests_wait

# The first reads are not followed by a rest, so the user sees the beginning at once. While requests wait, only the first word
# is shown at once: then others get theirs.
UNPACED_READS = 3
# A rest must gather at least this many tokens, or it would cost more than it saves.
LEAST_TOKENS_GATHERED = 2
# How often the timer looks for rests that are over.
TICK_S = 0.005
# At most this many readers continue at once, however many rests are over. Then requests get their turn. So under overload all
# rests grow evenly, and requests still advance.
READERS_AT_ONCE = 100


class RestTimer:
    """Ends the rests of all readers: one thread that wakes several of them at a time, instead of a timer for each."""

    def __init__(self) -> None:
        # All rests have about the same length, so the first to begin is the first to end.
        self._resting: deque[tuple[float, threading.Event]] = deque()
        self._has_work = threading.Event()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def wake_after(self, seconds: float, wakeup: threading.Event) -> None:
        """Set `wakeup` after this time."""
        self._resting.append((time.monotonic() + seconds, wakeup))
        self._has_work.set()
        if self._thread is None:
            with self._lock:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name="rest-timer", daemon=True)
                    self._thread.start()

    def _run(self) -> None:
        while True:
            # Without this thread, all replies would rest for ever.
            with suppress(MemoryError):
                self._end_rests()
                time.sleep(TICK_S)

    def _end_rests(self) -> None:
        # Clear before looking: a rest that is added in between sets it again.
        self._has_work.clear()
        if not self._resting:
            self._has_work.wait()
        now = time.monotonic()
        for _ in range(READERS_AT_ONCE):
            if not self._resting or self._resting[0][0] > now:
                break
            self._resting.popleft()[1].set()


rest_timer = RestTimer()


class Pacer:
    """The pace of one reply. `pause_s` tells how long a rest is right now, in seconds; 0 means none."""

    # How long a token took at the last read of any reply: the best guess for one that has just begun.
    _usual_interval_s = math.inf

    def __init__(self, pause_s: Callable[[], float]) -> None:
        self._pause_s = pause_s
        self._reads = 0
        self._read_at = 0.0

    def rest_after(self, events: int, now: float, *, has_begun: bool = True) -> float:
        """Return how long to rest after a read at `now` (monotonic) that brought `events` events; 0 means no rest.

        `has_begun` says that the model has said something.
        """
        interval_s = Pacer._usual_interval_s
        if self._reads:
            interval_s = Pacer._usual_interval_s = (now - self._read_at) / (events or 1)
        self._read_at = now
        self._reads += 1
        if self._reads <= UNPACED_READS and not (has_begun and do_requests_wait()):
            return 0.0
        pause_s = self._pause_s()
        return max(pause_s, LEAST_TOKENS_GATHERED * interval_s) if pause_s > interval_s else 0.0
