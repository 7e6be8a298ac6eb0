"""How many requests are worked on at once; the others wait in the order of their arrival, before anything is built for them.

Principle: a worker has one core and a few database connections. A thousand requests that arrive together do not finish sooner
if the worker begins all of them at once, but then each holds a deep stack, its objects and a place in the queue for a
connection. There are two lines, so that a stop or a look at a conversation does not wait behind a thousand sends. A request
leaves its place as soon as it waits for anything but the database: another service, its client, or a reply.
"""

import threading
from collections.abc import Iterable
from contextvars import ContextVar
from typing import Any
from wsgiref.types import WSGIApplication

from django.conf import settings

from chatapi.database.connections import call_before_waiting
from chatapi.incoming.request_bodies import PROBLEM_KEY
from chatapi.incoming.routes import begins_reply, is_probe
from chatapi.observability import metrics
from chatapi.problem import Problem

# A request uses its connection for only part of its time, and one that waits for a lock must not keep the others waiting.
# The two lines have this many places each, so the one that asks less of the database never waits long.
PLACES_PER_CONNECTION = 2
PATIENCE_S = 30.0
# The queues, by their names in metrics.
SENDS, OTHERS = "sends", "others"

# How many requests wait in each queue of this process.
_waiting = {SENDS: 0, OTHERS: 0}
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


call_before_waiting(leave_place)


def do_requests_wait() -> bool:
    """Return whether this process has more requests than it can work on at once."""
    return any(_waiting.values())


class Admission:
    """WSGI middleware: wait for a place, then call the application. Probes need none."""

    def __init__(self, application: WSGIApplication) -> None:
        self._application = application
        count = PLACES_PER_CONNECTION * settings.DB_POOL_SIZE
        self._queues = {SENDS: threading.Semaphore(count), OTHERS: threading.Semaphore(count)}

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if is_probe(path):
            return self._application(environ, start_response)
        queue = SENDS if begins_reply(environ.get("REQUEST_METHOD", ""), path) else OTHERS
        if not self._take_place(queue):
            metrics.admission_refusals.inc()
            environ.setdefault(PROBLEM_KEY, Overloaded(retry_after_s=1))
            return self._application(environ, start_response)
        place = Place(self._queues[queue])
        _place.set(place)
        try:
            return self._application(environ, start_response)
        finally:
            place.leave()

    def _take_place(self, queue: str) -> bool:
        if self._queues[queue].acquire(blocking=False):
            return True
        _waiting[queue] += 1
        try:
            return self._queues[queue].acquire(timeout=PATIENCE_S)
        finally:
            _waiting[queue] -= 1

    def sample(self) -> None:
        """Set the gauges of waiting requests."""
        for queue, waiting in _waiting.items():
            metrics.admission_waiting.labels(queue).set(waiting)
