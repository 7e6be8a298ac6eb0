"""When the request that is being answered arrived, and whether the server had been told to end before.

Like `gunicorn_worker`, which writes this, it must not import anything that imports psycopg.
"""

import time
from contextvars import ContextVar

_accepted_before_end: ContextVar[bool] = ContextVar("accepted_before_end", default=False)
_arrived_at: ContextVar[float | None] = ContextVar("arrived_at", default=None)


def note_arrival(*, before_end: bool) -> None:
    """Note it for the request that this thread answers next."""
    _accepted_before_end.set(before_end)


def was_accepted_before_end() -> bool:
    return _accepted_before_end.get()


def note_request() -> None:
    """Note that a request arrives in this thread. Its body is not read yet."""
    _arrived_at.set(time.monotonic())


def seconds_since_arrival() -> float:
    """Return for how long the request has been read, has waited and been worked on. 0 outside of requests."""
    arrived_at = _arrived_at.get()
    return 0.0 if arrived_at is None else time.monotonic() - arrived_at
