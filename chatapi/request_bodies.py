"""Request bodies: each is read to its end, up to a limit and by a deadline, before Django sees the request.

Principle: a client that is slow, or sends too much, costs a thread and never a database connection or the disk. Django would
read the body inside the view, when a connection may have been taken, and write the files of a multipart body to the disk
without a limit. It also takes a body that comes in chunks, without a Content-Length, for empty.

A refusal is an ordinary answer: the reason is left in the request for `middleware.RefuseBodiesMiddleware`. What the client
still sends is thrown away for a moment and then the connection is closed, because a connection that is closed at once is
reset, and many clients then never see the answer.
"""

import contextlib
import io
import math
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from django.conf import settings

from chatapi.client_deadlines import ClientDeadline
from chatapi.problem import Problem

WSGIApplication = Callable[[dict[str, Any], Any], Iterable[bytes]]

# Where a request's META says why its body was refused.
PROBLEM_KEY = "chatapi.body_problem"
BODY_DEADLINE_S = 30.0
LINGER_S = 5.0
# Bodies longer than most addresses take, which are read before anyone knows who sends them: so many are in memory at once.
MOST_LONG_BODIES = 16
LONG_BODY_PATIENCE_S = 5.0
DISCARD_BYTES = 65536


class PayloadTooLarge(Problem):
    code = "payload_too_large"
    status = 413
    detail = "The request body is too large."


class RequestTimeout(Problem):
    code = "request_timeout"
    status = 408
    detail = "The request body did not arrive in time."


class IncompleteBody(Problem):
    code = "invalid"
    status = 400
    detail = "The request body broke off."


class TooManyLongBodies(Problem):
    code = "throttled"
    status = 429
    detail = "Too many long requests are being read at once. Try again in a moment, or send less history along."


def body_limit(path: str) -> int:
    """Return how many bytes the body of a request to this address may have."""
    takes_history = path.rstrip("/") in settings.HISTORY_PATHS
    return settings.MAX_BODY_WITH_HISTORY if takes_history else settings.DATA_UPLOAD_MAX_MEMORY_SIZE


class WholeBodies:
    """Read bodies, then call the application."""

    def __init__(self, application: WSGIApplication) -> None:
        self._application = application
        self._long_bodies = threading.BoundedSemaphore(MOST_LONG_BODIES)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if not environ.get("CONTENT_LENGTH") and "HTTP_TRANSFER_ENCODING" not in environ:
            return self._application(environ, start_response)
        source = environ["wsgi.input"]
        with contextlib.ExitStack() as place:
            body, problem = self._read(environ, place)
            held = io.BytesIO(body)
            environ["CONTENT_LENGTH"] = str(len(body))
            environ["wsgi.input"] = held
            del body
            if problem is None:
                try:
                    return self._application(environ, start_response)
                finally:
                    # The answer may be a stream of minutes, which must not keep the body for as long.
                    held.close()
        environ[PROBLEM_KEY] = problem
        # Our gunicorn.conf.py adds it; it puts `Connection: close` into the answer.
        if close_connection := getattr(source, "close_connection", None):
            close_connection()
        answer = self._application(environ, start_response)
        sock = environ.get("gunicorn.socket")
        return answer if sock is None else _LastAnswer(answer, sock)

    def _read(self, environ: dict[str, Any], place: contextlib.ExitStack) -> tuple[bytes, Problem | None]:
        """Return the body and None, or nothing and what is wrong with it. A long body's place is given back with `place`."""
        length = _declared_length(environ)
        limit = body_limit(environ.get("PATH_INFO", ""))
        if length is not None and length > limit:
            return b"", PayloadTooLarge()
        sock = environ.get("gunicorn.socket")
        # Only reading ends at the deadline, so that the client can be told.
        deadline = None if sock is None else ClientDeadline(sock, BODY_DEADLINE_S, "body not sent in time", socket.SHUT_RD)
        try:
            body = self._read_pieces(environ["wsgi.input"], limit + 1 if length is None else length, place)
        except TooManyLongBodies as refusal:
            return b"", refusal
        except Exception as failure:
            # After the deadline a body of chunks fails like a malformed one, which is for the server to answer.
            if deadline is not None and deadline.is_over:
                return b"", RequestTimeout()
            if isinstance(failure, OSError):
                return b"", IncompleteBody()
            raise
        finally:
            if deadline is not None:
                deadline.lift()
        if length is None:
            return (body, None) if len(body) <= limit else (b"", PayloadTooLarge())
        if len(body) == length:
            return body, None
        return b"", RequestTimeout() if deadline is not None and deadline.is_over else IncompleteBody()

    def _read_pieces(self, source: Any, count: int, place: contextlib.ExitStack) -> bytes:
        """Read so many bytes, or fewer where there are no more. Raises `TooManyLongBodies`."""
        ordinary = settings.DATA_UPLOAD_MAX_MEMORY_SIZE + 1
        body: bytes = source.read(min(count, ordinary))
        if len(body) < ordinary or count == ordinary:
            return body
        if not self._long_bodies.acquire(timeout=LONG_BODY_PATIENCE_S):
            raise TooManyLongBodies(retry_after_s=math.ceil(LONG_BODY_PATIENCE_S))
        place.callback(self._long_bodies.release)
        rest: bytes = source.read(count - len(body))
        return body + rest


def _declared_length(environ: dict[str, Any]) -> int | None:
    """Return the Content-Length; None where the body comes in chunks."""
    if not environ.get("CONTENT_LENGTH"):
        return None
    try:
        return max(0, int(environ["CONTENT_LENGTH"]))
    except ValueError:
        # gunicorn refuses these; Django, behind other servers, takes the body for empty.
        return 0


class _LastAnswer:
    """An answer after which the connection is closed, with a body on its way that is not wanted."""

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
                # A client that sends faster than this reads would keep all others waiting.
                time.sleep(0)
        deadline.lift()
