"""Share the places or bytes of a worker among client addresses.

An address gets more only while it holds at most half of what is free. So one address alone gets a third, and others still find
some. Each address gets up to `least`, as long as that much is free.
"""

import threading
from collections import Counter
from collections.abc import Callable


class FairShares:
    """A number of places or bytes that callers share."""

    def __init__(self, amount: int, *, least: int = 1) -> None:
        self._amount = amount
        self._least = least
        self._changed = threading.Condition()
        self._held: Counter[str] = Counter()
        self._total = 0

    def take(self, holder: str, count: int = 1) -> bool:
        with self._changed:
            return self._take(holder, count)

    def take_in_time(self, holder: str, seconds: float, meanwhile: Callable[[], None]) -> bool:
        """Wait for one place. `meanwhile` is called before the waiting begins; it may make others give theirs back."""
        with self._changed:
            if self._take(holder, 1):
                return True
        meanwhile()
        with self._changed:
            return self._changed.wait_for(lambda: self._take(holder, 1), timeout=seconds)

    def give_back(self, holder: str, count: int = 1) -> None:
        with self._changed:
            self._total -= count
            self._held[holder] -= count
            if not self._held[holder]:
                del self._held[holder]
            self._changed.notify_all()

    def _take(self, holder: str, count: int) -> bool:
        would_hold = self._held[holder] + count
        free = self._amount - self._total
        if count > free or would_hold > max(self._least, free // 2):
            if not self._held[holder]:
                del self._held[holder]
            return False
        self._held[holder] = would_hold
        self._total += count
        return True
