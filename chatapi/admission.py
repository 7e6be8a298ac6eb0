"""How many requests are worked on at once; the others wait in the order of their arrival, before anything is built for them.

Principle: a worker has one core and a few database connections. A thousand requests that arrive together finish no sooner
when all of them are begun together, but each then holds a deep stack, its objects and a place in the queue for a connection,
and all of them wait for the last. A request leaves its place as soon as it waits for anything but the database: another
service, its client, or a reply.
"""

import threading
from collections.abc import Iterable
from contextvars import ContextVar
from typing import Any

from django.conf import settings

from chatapi.addresses import PROBED
from chatapi.problem import Problem
from chatapi.request_bodies import PROBLEM_KEY, WSGIApplication

# A request uses its connection for only part of its time, and one that waits for a lock must not keep the others waiting.
PLACES_PER_CONNECTION = 3
PATIENCE_S = 20.0

_place: ContextVar["Place | None"] = ContextVar("place", default=None)


class Overloaded(Problem):
    code = "overloaded"
    status = 503
    detail = "The service is overloaded. Try again in a moment. If you were sending a message, use the same Idempotency-Key."


class Place:
    """One request's place; leaving it twice is fine."""

    __slots__ = ("_places",)

    def __init__(self, places: threading.Semaphore) -> None:
        self._places: threading.Semaphore | None = places

    def leave(self) -> None:
        places, self._places = self._places, None
        if places is not None:
            places.release()


def leave_place() -> None:
    """Let the next request in, because this one is about to wait for something that takes its time."""
    if (place := _place.get()) is not None:
        place.leave()


class Admission:
    """WSGI middleware: wait for a place, then call the application. Probes need none."""

    def __init__(self, application: WSGIApplication) -> None:
        self._application = application
        self._places = threading.Semaphore(PLACES_PER_CONNECTION * settings.DB_POOL_SIZE)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if environ.get("PATH_INFO") in PROBED:
            return self._application(environ, start_response)
        if not self._places.acquire(timeout=PATIENCE_S):
            environ.setdefault(PROBLEM_KEY, Overloaded(retry_after_s=1))
            return self._application(environ, start_response)
        place = Place(self._places)
        _place.set(place)
        try:
            return self._application(environ, start_response)
        finally:
            place.leave()
