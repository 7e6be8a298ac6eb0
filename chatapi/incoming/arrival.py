"""Whether the server accepted the request that is being answered before it was told to end.

Like gunicorn_worker.py, which writes this, it must not import anything that imports psycopg.
"""

from contextvars import ContextVar

_accepted_before_end: ContextVar[bool] = ContextVar("accepted_before_end", default=False)


def note_arrival(*, before_end: bool) -> None:
    """Note it for the request that this thread answers next."""
    _accepted_before_end.set(before_end)


def was_accepted_before_end() -> bool:
    return _accepted_before_end.get()
