"""Which users have written lately, so that they read their own writes although a replica is behind.

Principle: each request that may change something marks its user in the shared cache before it writes. So a request that can see
the write finds the mark, at every node. The mark lasts as long as a write may take and the replica may be behind. Until then
the user reads the primary.

In doubt, the primary is read. A cache that was emptied, that started again (perhaps from an older snapshot), or whose replica
took its place, has lost marks. Then all users read from the primary until every write from before is old. A worker that could
not set a mark has the same done for all users as soon as it reaches the cache again.

Without DATABASE_REPLICA_URL, nothing here does anything.
"""

import math
import time
from collections.abc import Callable
from typing import Protocol, cast

from django.conf import settings
from django.core.cache import cache
from django.db import connections
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from chatapi.database.connections import release_connections

# In a request's META: who wrote, and when that was noted.
WRITE_NOTED = "chatapi.write_noted"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
# From the mark to the commit. A send may wait 10 s for another reply to stop, before its own transaction.
WRITE_S = 20.0
# A request that took longer than this sets its mark again at its end.
SLOW_S = WRITE_S / 2
# While the cache has this key, it has not lost any marks. While it has the other one, all readers read from the primary.
ALIVE, PAUSE = "replica:alive", "replica:pause"


class Marks(Protocol):
    """Keys that processes share. The cache of CACHE_URL implements it."""

    def mark(self, key: str, seconds: int | None) -> bool:
        """Set a key, for this long or for good. Return whether it is set."""
        ...

    def marked(self, *keys: str) -> list[bool] | None:
        """Return which keys are set, all at one moment, or None if that can't be known.

        The first one counts as not set, and is not set any more, if the server may have lost marks since it was asked last.
        """
        ...


marks = cast(Marks, cache)

# When this process last failed to set a mark, by its monotonic clock; None if it has made up for that.
_unmarked_at: float | None = None


def user_key(user_id: object) -> str:
    return f"user-{user_id}"


def staff_key(staff_id: object) -> str:
    return f"staff-{staff_id}"


def note_write(request: HttpRequest, caller: str) -> None:
    """Mark a user whose request may change something. Call it before anything is written."""
    if settings.DATABASE_REPLICA is None or request.method in SAFE_METHODS:
        return
    request.META[WRITE_NOTED] = (caller, time.monotonic())
    _mark(_key(caller))


def has_written(caller: str) -> bool:
    """Return whether a user may have written so lately that the replica can lack it."""
    found = marks.marked(ALIVE, PAUSE, _key(caller))
    if found is None:
        return True
    is_alive, is_paused, is_marked = found
    if not is_alive and marks.mark(PAUSE, _lifetime_s()):
        marks.mark(ALIVE, None)
    return not is_alive or is_paused or is_marked


def pause_replica_reads() -> None:
    """Have all readers read from the primary for a while, after a write whose user is not known."""
    if settings.DATABASE_REPLICA is not None:
        _mark(PAUSE)


def make_up_for_lost_marks() -> None:
    """If a mark could not be set lately, have all readers read from the primary, as soon as the cache can be reached."""
    global _unmarked_at
    lost_at = _unmarked_at
    if lost_at is None:
        return
    is_over = time.monotonic() - lost_at > _lifetime_s()
    if (is_over or marks.mark(PAUSE, _lifetime_s())) and _unmarked_at == lost_at:
        _unmarked_at = None


def _mark(key: str) -> None:
    global _unmarked_at
    if connections["default"].connection is not None:
        # The cache may take its time. Only new users and staff have used the database by now, and slow requests.
        release_connections()
    if not marks.mark(key, _lifetime_s()):
        _unmarked_at = time.monotonic()


def _key(caller: str) -> str:
    return f"replica:written:{caller}"


def _lifetime_s() -> int:
    return math.ceil(settings.DATABASE_REPLICA_MAX_LAG + WRITE_S)


class SlowWritesMiddleware:
    """Set the mark of a slow request again, because its transaction may have ended only now. Mark staff in the admin.

    The innermost. The settings add it only where there is a replica.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if request.method in SAFE_METHODS:
            return self._get_response(request)
        if request.path_info.startswith(settings.ADMIN_PATH) and request.user.is_authenticated:
            note_write(request, staff_key(request.user.pk))
        try:
            return self._get_response(request)
        finally:
            caller, noted_at = request.META.get(WRITE_NOTED, ("", math.inf))
            if time.monotonic() - noted_at > SLOW_S:
                _mark(_key(caller))
