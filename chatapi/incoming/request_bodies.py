"""Read each request body completely, within a size limit and a deadline, before Django sees the request.

Principle: a client that is slow or sends too much occupies a thread, but no database connection and no disk. Django would
read the body inside the view, possibly while the view holds a connection, and would write the files of a multipart body to
disk without a limit. It also treats a chunked body without a Content-Length as empty.

A body counts with the length that it declares before it is read, until it has been parsed, and a long one needs a permit. The
body of a request without an Authorization header is not read where the view needs one.

A refusal is an ordinary response: `RefuseBodiesMiddleware` finds the reason in the request. For a few seconds this module then
discards what the client still sends, and closes the connection. Closing it at once would reset the connection, and many
clients would never see the response.
"""

import contextlib
import io
import math
import socket
import time
from collections.abc import Iterable, Iterator
from typing import Any
from wsgiref.types import WSGIApplication

from django.conf import settings

from chatapi.incoming.arrival import note_request
from chatapi.incoming.client_address import address_group_of
from chatapi.incoming.client_deadlines import ClientDeadline
from chatapi.incoming.routes import may_bring_history
from chatapi.permits.limit import Limit
from chatapi.permits.permit import Permit, Permits
from chatapi.permits.shares import fair_share
from chatapi.service_error import ERROR_KEY, ServiceError

# In the environ of a request whose body was refused: its Content-Length.
DECLARED_LENGTH = "chatapi.declared_length"
BODY_DEADLINE_S = 30.0
LINGER_S = 5.0
# At most this many bodies over the ordinary limit are in memory at once. They are read before the caller is known.
MOST_LONG_BODIES = 16
LONG_BODY_PATIENCE_S = 5.0
# When someone waits for the permit of a long body, one that has had it for some seconds and comes slower than this is given up.
SLOWEST_LONG_BODY_BYTES_PER_S = 128 * 1024
SLOW_AFTER_S = 3.0
# What most requests send is not counted.
SHORT_BODY = 4096
PIECE = 256 * 1024
# Of all bodies in memory, without short ones and without what long ones have above the ordinary limit.
MOST_BYTES = 48 * 1024 * 1024
DISCARD_BYTES = 65536


class PayloadTooLarge(ServiceError):
    code = "payload_too_large"
    status = 413
    detail = "The request body is too large."


class RequestTimeout(ServiceError):
    code = "request_timeout"
    status = 408
    detail = f"The request body did not arrive within {BODY_DEADLINE_S:.0f} seconds."


class IncompleteBody(ServiceError):
    code = "invalid"
    status = 400
    detail = "The request body is incomplete."


class TooManyLongBodies(ServiceError):
    code = "throttled"
    status = 429
    detail = "The server is reading too many long requests right now. Try again in a moment, or send less history."


class TooManyBodies(ServiceError):
    code = "throttled"
    status = 429
    detail = "The server is reading too many requests right now. Try again in a moment."


def body_limit(path: str, has_token: bool = True) -> int:
    """Return the limit for request bodies at this path, in bytes."""
    if not may_bring_history(path):
        return settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    return settings.MAX_BODY_WITH_HISTORY if has_token else settings.MAX_STRANGERS_BODY


LONG_BODIES = Limit(
    what=f"bodies over 256 KiB that are being read: {MOST_LONG_BODIES}",
    per="worker; one address gets at most half of what is free",
    refusal=TooManyLongBodies,
    retry_after_s=math.ceil(LONG_BODY_PATIENCE_S),
)
BODY_BYTES = Limit(
    what=f"bytes of the bodies that are being read: {MOST_BYTES // 1024**2} MiB",
    per="worker; one address gets at most half of what is free",
    refusal=TooManyBodies,
    retry_after_s=math.ceil(LONG_BODY_PATIENCE_S),
)


class HeldBody(io.BytesIO):
    """A body in memory, and the permits that it holds until it is closed."""

    def __init__(self, budget: "BodyBudget", holder: str, deadline: ClientDeadline | None) -> None:
        super().__init__()
        self._budget = budget
        self._bytes: Permit | None = None
        self._place: Permit | None = None
        self.holder, self.deadline = holder, deadline
        self.place_since = 0.0
        self.length = 0

    def receive(self, piece: bytes) -> None:
        self.write(piece)
        self.length += len(piece)

    def count(self, size: int) -> None:
        """Take so much of the budget. Raises `TooManyBodies`."""
        self._bytes = self._budget.bytes.acquire(self.holder, size)

    def settle(self) -> None:
        """Give back what was counted for a body in chunks and has not come."""
        if self._bytes is not None and self.length < self._bytes.count:
            self._bytes.shrink(self.length)

    def take_place(self) -> None:
        """Wait for the permit of a long body. Raises `TooManyLongBodies`."""
        self._place = self._budget.take_place(self)
        self.place_since = time.monotonic()

    def close(self) -> None:
        super().close()
        for permit in (self._bytes, self._place):
            if permit is not None:
                permit.release()
        self._budget.long_bodies.discard(self)


class BodyBudget:
    """What the bodies of this worker may take."""

    def __init__(self) -> None:
        self.bytes = Permits(BODY_BYTES, fair_share(MOST_BYTES, least=settings.DATA_UPLOAD_MAX_MEMORY_SIZE))
        self._places = Permits(LONG_BODIES, fair_share(MOST_LONG_BODIES))
        self.long_bodies: set[HeldBody] = set()

    def take_place(self, body: HeldBody) -> Permit:
        permit = self._places.take(body.holder)
        if permit is None:
            self._give_up_slow_ones()
            permit = self._places.acquire(body.holder, wait_s=LONG_BODY_PATIENCE_S)
        self.long_bodies.add(body)
        return permit

    def _give_up_slow_ones(self) -> None:
        now = time.monotonic()
        for body in list(self.long_bodies):
            since = now - body.place_since
            is_slow = since > SLOW_AFTER_S and body.length < since * SLOWEST_LONG_BODY_BYTES_PER_S
            if is_slow and body.deadline is not None:
                body.deadline.end_now()


class WholeBodies:
    """WSGI middleware: read the body, then call the application."""

    def __init__(self, application: WSGIApplication) -> None:
        self._application = application
        self._budget = BodyBudget()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        note_request()
        if not environ.get("CONTENT_LENGTH") and "HTTP_TRANSFER_ENCODING" not in environ:
            return self._application(environ, start_response)
        source = environ["wsgi.input"]
        if is_unread(environ):
            # The view refuses it.
            environ["CONTENT_LENGTH"], environ["wsgi.input"] = "0", io.BytesIO()
            return self._answer_last(environ, start_response, source)
        sock = environ.get("gunicorn.socket")
        # The deadline stops reading only, so that the client still gets the response.
        deadline = None if sock is None else ClientDeadline(sock, BODY_DEADLINE_S, "body not sent in time", socket.SHUT_RD)
        with HeldBody(self._budget, address_group_of(environ), deadline) as held:
            error = self._read(environ, held)
            # The response may stream for minutes and must not keep the body in memory for that time.
            if error is None:
                held.seek(0)
                environ["CONTENT_LENGTH"], environ["wsgi.input"] = str(held.length), held
                return self._application(environ, start_response)
        environ[DECLARED_LENGTH] = environ.get("CONTENT_LENGTH", "")
        environ["CONTENT_LENGTH"], environ["wsgi.input"] = "0", io.BytesIO()
        environ[ERROR_KEY] = error
        return self._answer_last(environ, start_response, source)

    def _answer_last(self, environ: dict[str, Any], start_response: Any, source: Any) -> Iterable[bytes]:
        # gunicorn.conf.py adds this method. It puts `Connection: close` into the response.
        if close_connection := getattr(source, "close_connection", None):
            close_connection()
        answer = self._application(environ, start_response)
        sock = environ.get("gunicorn.socket")
        return answer if sock is None else _LastResponse(answer, sock)

    def _read(self, environ: dict[str, Any], held: HeldBody) -> ServiceError | None:
        """Read the body. Return the error, or None."""
        length = _declared_length(environ)
        limit = body_limit(environ.get("PATH_INFO", ""), bool(environ.get("HTTP_AUTHORIZATION")))
        deadline = held.deadline
        try:
            if length is not None and length > limit:
                return PayloadTooLarge()
            _read_pieces(environ["wsgi.input"], length, limit, held)
        except (TooManyBodies, TooManyLongBodies) as refusal:
            return refusal
        except Exception as failure:
            # After the deadline a chunked body fails like a malformed one, which the server itself answers.
            if deadline is not None and deadline.is_over:
                return RequestTimeout()
            if isinstance(failure, OSError):
                return IncompleteBody()
            raise
        finally:
            if deadline is not None:
                deadline.lift()
        if length is None:
            return None if held.length <= limit else PayloadTooLarge()
        if held.length == length:
            return None
        return RequestTimeout() if deadline is not None and deadline.is_over else IncompleteBody()


def _read_pieces(source: Any, length: int | None, limit: int, held: HeldBody) -> None:
    """Read the body, or up to a byte more than the limit. Raises `TooManyBodies`, `TooManyLongBodies`."""
    count, ordinary = limit + 1 if length is None else length, settings.ORDINARY_BODY + 1
    if count > SHORT_BODY:
        held.count(min(count, ordinary))
    first = min(count, ordinary)
    held.receive(source.read(first))
    if held.length == first and count > first:
        held.take_place()
        while (size := min(count - held.length, PIECE)) > 0 and (piece := source.read(size)):
            held.receive(piece)
    held.settle()


def is_unread(environ: dict[str, Any]) -> bool:
    """Return whether a body is not even read: it has no Authorization header, and its view will ask for one."""
    if environ.get("HTTP_AUTHORIZATION"):
        return False
    # The views need the applications to be loaded.
    from django.urls import Resolver404, resolve

    try:
        view = resolve(environ.get("PATH_INFO", "")).func
    except Resolver404:
        return False
    needs_token = getattr(getattr(view, "cls", None), "needs_token", None)
    return needs_token is not None and needs_token()


def _declared_length(environ: dict[str, Any]) -> int | None:
    """Return the Content-Length, or None for a chunked body."""
    if not environ.get("CONTENT_LENGTH"):
        return None
    try:
        return max(0, int(environ["CONTENT_LENGTH"]))
    except ValueError:
        # gunicorn refuses such requests. Behind other servers, Django treats the body as empty.
        return 0


class _LastResponse:
    """A response to a refused body. Afterwards the rest of the body is discarded and the connection closed."""

    def __init__(self, answer: Iterable[bytes], sock: socket.socket) -> None:
        self._answer = answer
        self._socket = sock

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._answer)

    def close(self) -> None:
        try:
            if close := getattr(self._answer, "close", None):
                close()
        finally:
            self._discard()

    def _discard(self) -> None:
        deadline = ClientDeadline(self._socket, LINGER_S, "refused body still being sent")
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)
            while self._socket.recv(DISCARD_BYTES):
                # Let other greenlets run, even if the client sends faster than this loop reads.
                time.sleep(0)
        deadline.lift()
