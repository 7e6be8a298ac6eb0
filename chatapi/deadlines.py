"""Deadlines on a clock, watched by one thread for the whole process.

A socket's timeout limits each wait, so an answer that arrives a byte at a time could take forever. This thread calls a function
when a deadline has passed, even while the owner waits. An owner may move its deadline often: the thread checks a deadline only
at the time that it knew of, so a reply of a thousand tokens does not need a thousand timers.
"""

import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress

logger = logging.getLogger(__name__)


class Deadline:
    """Call a function, in the watching thread, once the time `at` (monotonic) has passed."""

    __slots__ = ("_on_late", "at", "known_at")

    def __init__(self, at: float, on_late: Callable[[], None]) -> None:
        self._on_late: Callable[[], None] | None = on_late
        self.at = at
        # When the watching thread checks next, or infinity if it does not know this deadline yet.
        self.known_at = float("inf")
        _watch.add(self)

    def move(self, at: float) -> None:
        """Choose another time. A later time costs nothing."""
        is_earlier = at < self.at
        self.at = at
        if is_earlier:
            _watch.add(self)

    def cancel(self) -> None:
        """Forget the function, and so its owner."""
        self._on_late = None

    @property
    def is_over(self) -> bool:
        """Whether it has passed or was cancelled."""
        return self._on_late is None

    def expire(self) -> None:
        on_late, self._on_late = self._on_late, None
        if on_late is not None:
            on_late()


class _Watch:
    """The deadlines of this process, and the thread that watches them."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._queue: list[tuple[float, int, Deadline]] = []
        self._numbers = itertools.count()
        self._thread: threading.Thread | None = None

    def add(self, deadline: Deadline) -> None:
        with self._changed:
            if deadline.at >= deadline.known_at:
                return
            self._push(deadline)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="deadlines", daemon=True)
                self._thread.start()
            elif self._queue[0][2] is deadline:
                self._changed.notify()

    def _push(self, deadline: Deadline) -> None:
        deadline.known_at = deadline.at
        heapq.heappush(self._queue, (deadline.at, next(self._numbers), deadline))

    def _run(self) -> None:
        while True:
            # Other calls depend on this thread, also after a moment without memory.
            with suppress(MemoryError):
                for deadline in self._take_passed():
                    self._expire(deadline)

    def _expire(self, deadline: Deadline) -> None:
        try:
            deadline.expire()
        except Exception:
            logger.exception("the callback of a deadline failed")

    def _take_passed(self) -> list[Deadline]:
        """Wait until deadlines have passed, and return them."""
        passed: list[Deadline] = []
        with self._changed:
            while not passed:
                self._changed.wait(self._queue[0][0] - time.monotonic() if self._queue else None)
                now = time.monotonic()
                # Most deadlines are cancelled long before their time. Those at the front are dropped now, because this thread
                # would wake up for each of them.
                while self._queue and (self._queue[0][0] <= now or self._queue[0][2].is_over):
                    known_at, _, deadline = heapq.heappop(self._queue)
                    if deadline.is_over or known_at != deadline.known_at:
                        continue  # over, or moved to an earlier time that has an entry of its own
                    if deadline.at > now:
                        self._push(deadline)
                    else:
                        passed.append(deadline)
        return passed


_watch = _Watch()
