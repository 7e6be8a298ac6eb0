"""A limit on invalid tokens per client address. Without it, every invented token would cause a call to the auth service.

The limit applies only to tokens without a remembered verdict. Each takes a place before the call to the auth service. It keeps
the place if the token is rejected and gives it back otherwise, so simultaneous requests can't exceed the limit. If all places
are taken, but some by calls in progress, a request waits for those calls: many users behind one address may arrive at once.
"""

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from django.conf import settings

from chatapi.cache.rates import meter
from chatapi.environment import Rate
from chatapi.permits.limit import Limit
from chatapi.service_error import ServiceError


class TooManyRejectedTokens(ServiceError):
    code = "throttled"
    status = 429
    detail = (
        "There were too many invalid tokens from your IP address. Wait for the number of seconds in the Retry-After header."
    )


Limit(
    what="tokens that the auth service rejects",
    per="client address",
    refusal=TooManyRejectedTokens,
    settings=("THROTTLE_REJECTED_TOKENS",),
)


@dataclass(slots=True)
class Validation:
    """A call about one token. It counts if the token is rejected."""

    is_rejected: bool = False


@dataclass(slots=True)
class _Address:
    changed: threading.Condition = field(default_factory=threading.Condition)
    requests: int = 0
    calls: int = 0


class RejectedTokens:
    """Assign places to the calls of this process, per address."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._addresses: dict[str, _Address] = {}

    @contextmanager
    def validation(self, address: str, patience_s: float) -> Iterator[Validation]:
        """Take a place for the call in the block. Raises `TooManyRejectedTokens` if there is none within `patience_s`."""
        rate: Rate | None = settings.THROTTLE_REJECTED_TOKENS
        if rate is None:
            yield Validation()
            return
        with self._lock:
            entry = self._addresses.setdefault(address, _Address())
            entry.requests += 1
        try:
            key = f"throttle:rejected:ip-{address}"
            _take(entry, key, rate, time.monotonic() + patience_s)
            call = Validation()
            try:
                yield call
            finally:
                if not call.is_rejected:
                    meter.give_place_back(key, rate)
                with entry.changed:
                    entry.calls -= 1
                    # A returned place serves one waiting request. Without calls in progress, no request needs to wait.
                    entry.changed.notify(int(not call.is_rejected) if entry.calls else entry.requests)
        finally:
            with self._lock:
                entry.requests -= 1
                if not entry.requests:
                    del self._addresses[address]


def _take(entry: _Address, key: str, rate: Rate, give_up_at: float) -> None:
    # Check and wait under one lock, so that the end of a call in between is not missed.
    with entry.changed:
        while wait_s := meter.count(key, rate).wait_s:
            if not entry.calls or not entry.changed.wait(max(0.0, give_up_at - time.monotonic())):
                raise TooManyRejectedTokens(retry_after_s=math.ceil(wait_s))
        entry.calls += 1


rejected_tokens = RejectedTokens()
