"""Permits: a limit on what is done at once, and the right to do it.

A permit has a key, such as a user or a client address, and counts until it is released. The rule of a limit sees what its key
and all keys hold, and says whether one more fits. If not, a caller may wait: permits that are given back go to those who wait,
in the order of their arrival. A holder may also leave without a word, such as a client that vanished; so a permit can
say whether its holder is present, and a full key loses the permits of holders that are gone.

All of this is per process. This module imports nothing of Django, because the server uses it before the process is patched.
"""

import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from chatapi.permits.limit import Limit

# A line that advances has its permits within this time.
BRIEF_WAIT_S = 0.25


@dataclass(frozen=True, slots=True)
class Held:
    """What is held already when `wanted` more are asked for."""

    wanted: int
    of_key: int
    in_all: int


Fits = Callable[[Held], bool]


def always_present() -> bool:
    return True


class Permit:
    """The right to go on, until it is released; releasing it twice is fine. As a context it is released at the end."""

    __slots__ = ("_permits", "count", "is_present", "key")

    def __init__(self, permits: "Permits", key: Hashable, count: int, is_present: Callable[[], bool]) -> None:
        self._permits = permits
        self.key = key
        self.count = count
        self.is_present = is_present

    def release(self) -> None:
        self._permits.give_back(self)

    def shrink(self, count: int) -> None:
        """Give back what is not needed of a permit for several."""
        self._permits.give_back(self, keep=count)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, failure: BaseException | None, trace: TracebackType | None) -> None:
        self.release()


class _Waiting:
    """A caller that waits for its permit."""

    __slots__ = ("granted", "permit", "since")

    def __init__(self, permit: Permit) -> None:
        self.permit = permit
        self.granted = threading.Event()
        self.since = time.monotonic()


class _OfKey:
    """What a key holds."""

    __slots__ = ("count", "permits")

    def __init__(self) -> None:
        self.permits: set[Permit] = set()
        self.count = 0


class Permits:
    """The permits of one limit in this process. `fits` says whether another one may be given."""

    def __init__(self, limit: Limit, fits: Fits) -> None:
        self.limit = limit
        self._fits = fits
        self._lock = threading.Lock()
        self._held: dict[Hashable, _OfKey] = {}
        self._in_all = 0
        # By key, in the order of arrival.
        self._waiting: dict[Hashable, list[_Waiting]] = {}

    def acquire(
        self, key: Hashable = None, count: int = 1, *, wait_s: float = 0.0, is_present: Callable[[], bool] = always_present
    ) -> Permit:
        """Return a permit, if need be after a wait. Raises the limit's refusal."""
        permit = self.take(key, count, wait_s=wait_s, is_present=is_present)
        if permit is None:
            raise self.limit.refuse()
        return permit

    def take(
        self,
        key: Hashable = None,
        count: int = 1,
        *,
        wait_s: float = 0.0,
        is_present: Callable[[], bool] = always_present,
        before_long_wait: Callable[[], object] | None = None,
    ) -> Permit | None:
        """Return a permit, or None if there is none in time.

        `before_long_wait` is called when the first in this key's line has waited for BRIEF_WAIT_S: that can go on for long.
        """
        permit = Permit(self, key, count, is_present)
        with self._lock:
            if self._has_room(key, count):
                self._hold(permit)
                return permit
            if wait_s <= 0:
                return None
            waiting = _Waiting(permit)
            self._waiting.setdefault(key, []).append(waiting)
            first = self._waiting[key][0]
        try:
            brief_s = max(0.0, first.since + BRIEF_WAIT_S - waiting.since)
            if before_long_wait is not None and not waiting.granted.wait(brief_s):
                before_long_wait()
            waiting.granted.wait(wait_s)
        except BaseException:
            self._leave(waiting)
            permit.release()
            raise
        return None if self._leave(waiting) else permit

    def hold(self, key: Hashable = None, *, is_present: Callable[[], bool] = always_present) -> Permit:
        """Return a permit also if there is no room. It counts for those who ask later."""
        permit = Permit(self, key, 1, is_present)
        with self._lock:
            self._hold(permit)
        return permit

    def refuse_without_room(self, key: Hashable = None) -> None:
        """Raise the limit's refusal if there is no permit at the moment."""
        with self._lock:
            has_room = self._has_room(key, 1)
        if not has_room:
            raise self.limit.refuse()

    def held(self) -> list[Permit]:
        """Return the permits that are held at the moment."""
        with self._lock:
            return [permit for held in self._held.values() for permit in held.permits]

    @property
    def in_all(self) -> int:
        """How much is held, by all keys."""
        return self._in_all

    def waiting(self, key: Hashable = None) -> int:
        """Return how many callers wait for a permit of this key."""
        return len(self._waiting.get(key, ()))

    def does_any_wait(self) -> bool:
        return bool(self._waiting)

    def drop_absent(self) -> None:
        """Release the permits whose holders are gone, of all keys."""
        with self._lock:
            for key in list(self._held):
                self._drop_absent(key)
            self._grant()

    def give_back(self, permit: Permit, keep: int = 0) -> None:
        """Free what a permit holds, except for `keep` of it."""
        with self._lock:
            if self._let_go(permit, keep) and self._waiting:
                self._grant()

    def _has_room(self, key: Hashable, count: int) -> bool:
        held = self._held.get(key)
        if self._fits(Held(count, held.count if held else 0, self._in_all)):
            return True
        return self._drop_absent(key) and self._has_room(key, count)

    def _drop_absent(self, key: Hashable) -> bool:
        """Return whether any was dropped."""
        held = self._held.get(key)
        absent = [permit for permit in held.permits if not permit.is_present()] if held else []
        for permit in absent:
            self._let_go(permit, 0)
        return bool(absent)

    def _hold(self, permit: Permit) -> None:
        held = self._held.setdefault(permit.key, _OfKey())
        held.permits.add(permit)
        held.count += permit.count
        self._in_all += permit.count

    def _let_go(self, permit: Permit, keep: int) -> bool:
        """Return whether it was held."""
        held = self._held.get(permit.key)
        if held is None or permit not in held.permits:
            return False
        freed, permit.count = permit.count - keep, keep
        held.count -= freed
        self._in_all -= freed
        if not keep:
            held.permits.discard(permit)
            if not held.permits:
                del self._held[permit.key]
        return True

    def _grant(self) -> None:
        """Give permits to those who wait, as long as the next of a key fits."""
        for key, waiting in list(self._waiting.items()):
            while waiting and self._has_room(key, waiting[0].permit.count):
                first = waiting.pop(0)
                self._hold(first.permit)
                first.granted.set()
            if not waiting:
                del self._waiting[key]

    def _leave(self, waiting: _Waiting) -> bool:
        """Stop waiting. Return whether there was no permit so far."""
        with self._lock:
            others = self._waiting.get(waiting.permit.key, [])
            if waiting not in others:
                return False
            others.remove(waiting)
            if not others:
                del self._waiting[waiting.permit.key]
            return True
