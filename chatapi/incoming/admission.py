"""How many requests are worked on at once; the others wait in the order of their arrival, before anything is built for them.

Principle: a worker has one core and a few database connections. A thousand requests that arrive together do not finish sooner
if the worker begins all of them at once, but then each holds a deep stack, its objects and a place in the queue for a
connection. There are two lines, so that a stop or a look at a conversation does not wait behind a thousand sends. A request
releases its permit as soon as it waits for anything but the database: another service, its client, or a reply.
"""

from collections.abc import Iterable
from contextvars import ContextVar
from typing import Any
from wsgiref.types import WSGIApplication

from django.conf import settings

from chatapi.database.connections import call_before_waiting
from chatapi.incoming.routes import begins_reply, is_probe
from chatapi.observability import metrics
from chatapi.permits.limit import Limit
from chatapi.permits.permit import Permit, Permits
from chatapi.permits.shares import at_most
from chatapi.service_error import ERROR_KEY, ServiceError

PATIENCE_S = 30.0
# The queues, by their names in metrics.
SENDS, OTHERS = "sends", "others"


_permit: ContextVar[Permit | None] = ContextVar("permit", default=None)


class Overloaded(ServiceError):
    code = "overloaded"
    status = 503
    detail = "The service is overloaded. Try again in a moment. If you were sending a message, use the same Idempotency-Key."


LIMIT = Limit(
    what="requests that are worked on",
    per="worker, sends and others apart",
    refusal=Overloaded,
    retry_after_s=1,
    settings=("DB_POOL_SIZE",),
)


def release_permit() -> None:
    """Let the next request in, because this one is about to wait for something that takes its time."""
    if (permit := _permit.get()) is not None:
        permit.release()


call_before_waiting(release_permit)


def do_requests_wait() -> bool:
    """Return whether this process has more requests than it can work on at once."""
    return _admission is not None and _admission.requests.does_any_wait()


class Admission:
    """WSGI middleware: wait for a permit, then call the application. Probes need none."""

    def __init__(self, application: WSGIApplication) -> None:
        global _admission
        _admission = self
        self._application = application
        # As many in each line as there are connections. More would wait again for a connection, which costs more than waiting
        # here. One line alone can have all connections, and the one that asks less of the database never waits long.
        self.requests = Permits(LIMIT, at_most(settings.DB_POOL_SIZE))

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if is_probe(path):
            return self._application(environ, start_response)
        queue = SENDS if begins_reply(environ.get("REQUEST_METHOD", ""), path) else OTHERS
        permit = self.requests.take(queue, wait_s=PATIENCE_S)
        if permit is None:
            metrics.admission_refusals.inc()
            environ.setdefault(ERROR_KEY, LIMIT.refuse())
            return self._application(environ, start_response)
        _permit.set(permit)
        with permit:
            return self._application(environ, start_response)

    def sample(self) -> None:
        """Set the gauges of waiting requests."""
        for queue in (SENDS, OTHERS):
            metrics.admission_waiting.labels(queue).set(self.requests.waiting(queue))


_admission: Admission | None = None
