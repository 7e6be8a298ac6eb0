"""How many rejected tokens an address may show: without a limit, every made-up token is a call to the auth service.

Only tokens that no verdict is remembered for are limited. Each takes a place before the auth service is asked and keeps it
if it is rejected; otherwise it gives the place back. So requests at the same moment can't exceed the limit either. Where all
places are taken, but some by calls that are under way, a request waits for those: many users behind one address may arrive
at once.
"""

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from django.conf import settings

from chatapi.environment import Rate
from chatapi.problem import Problem
from chatapi.rates import meter


class TooManyRejectedTokens(Problem):
    code = "throttled"
    status = 429
    detail = "Too many tokens from your address were not valid. Wait as long as Retry-After says."


@dataclass(slots=True)
class Place:
    """A place that is kept where the token is rejected."""

    is_rejected: bool = False


@dataclass(slots=True)
class _Address:
    changed: threading.Condition = field(default_factory=threading.Condition)
    requests: int = 0
    calls: int = 0


class RejectedTokens:
    """Hand out the places of all addresses to the calls of this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._addresses: dict[str, _Address] = {}

    @contextmanager
    def place(self, address: str, patience_s: float) -> Iterator[Place]:
        """Take a place for the block's call. Raises `TooManyRejectedTokens` where there is none for so long."""
        rate: Rate | None = settings.THROTTLE_REJECTED_TOKENS
        if rate is None:
            yield Place()
            return
        with self._lock:
            entry = self._addresses.setdefault(address, _Address())
            entry.requests += 1
        try:
            key = f"throttle:rejected:ip-{address}"
            _take(entry, key, rate, time.monotonic() + patience_s)
            place = Place()
            try:
                yield place
            finally:
                if not place.is_rejected:
                    meter.give_place_back(key, rate)
                with entry.changed:
                    entry.calls -= 1
                    # A place that was given back is for one; where no call is left, nobody needs to wait.
                    entry.changed.notify(int(not place.is_rejected) if entry.calls else entry.requests)
        finally:
            with self._lock:
                entry.requests -= 1
                if not entry.requests:
                    del self._addresses[address]


def _take(entry: _Address, key: str, rate: Rate, give_up_at: float) -> None:
    # Under the lock, so that a call that ends meanwhile is either seen or waited for.
    with entry.changed:
        while wait_s := meter.take_place(key, rate):
            if not entry.calls or not entry.changed.wait(max(0.0, give_up_at - time.monotonic())):
                raise TooManyRejectedTokens(retry_after_s=math.ceil(wait_s))
        entry.calls += 1


rejected_tokens = RejectedTokens()
