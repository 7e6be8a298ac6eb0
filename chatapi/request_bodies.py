"""Read each request body completely, within a size limit and a deadline, before Django sees the request.

Principle: a client that is slow or sends too much occupies a thread, but no database connection and no disk. Django would
read the body inside the view, possibly while the view holds a connection, and would write the files of a multipart body to
disk without a limit. It also treats a chunked body without a Content-Length as empty.

A refusal is an ordinary response: `middleware.RefuseBodiesMiddleware` finds the reason in the request. For a few seconds this
module then discards what the client still sends, and closes the connection. Closing it at once would reset the connection, and
many clients would never see the response.
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

# The key in a request's META for the reason of a refusal.
PROBLEM_KEY = "chatapi.body_problem"
BODY_DEADLINE_S = 30.0
LINGER_S = 5.0
# At most this many bodies over the ordinary limit are in memory at once. They are read before the caller is known.
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
    detail = f"The request body did not arrive within {BODY_DEADLINE_S:.0f} seconds."


class IncompleteBody(Problem):
    code = "invalid"
    status = 400
    detail = "The request body is incomplete."


class TooManyLongBodies(Problem):
    code = "throttled"
    status = 429
    detail = "The server is reading too many long requests right now. Try again in a moment, or send less history."


def body_limit(path: str) -> int:
    """Return the limit for request bodies at this path, in bytes."""
    takes_history = path.rstrip("/") in settings.HISTORY_PATHS
    return settings.MAX_BODY_WITH_HISTORY if takes_history else settings.DATA_UPLOAD_MAX_MEMORY_SIZE


class WholeBodies:
    """WSGI middleware: read the body, then call the application."""

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
                    # The response may stream for minutes and must not keep the body in memory for that time.
                    held.close()
        environ[PROBLEM_KEY] = problem
        # gunicorn.conf.py adds this method. It puts `Connection: close` into the response.
        if close_connection := getattr(source, "close_connection", None):
            close_connection()
        answer = self._application(environ, start_response)
        sock = environ.get("gunicorn.socket")
        return answer if sock is None else _LastAnswer(answer, sock)

    def _read(self, environ: dict[str, Any], place: contextlib.ExitStack) -> tuple[bytes, Problem | None]:
        """Return the body and None, or b"" and the problem. Closing `place` returns the place of a long body."""
        length = _declared_length(environ)
        limit = body_limit(environ.get("PATH_INFO", ""))
        if length is not None and length > limit:
            return b"", PayloadTooLarge()
        sock = environ.get("gunicorn.socket")
        # The deadline stops reading only, so that the client still gets the response.
        deadline = None if sock is None else ClientDeadline(sock, BODY_DEADLINE_S, "body not sent in time", socket.SHUT_RD)
        try:
            body = self._read_pieces(environ["wsgi.input"], limit + 1 if length is None else length, place)
        except TooManyLongBodies as refusal:
            return b"", refusal
        except Exception as failure:
            # After the deadline a chunked body fails like a malformed one, which the server itself answers.
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
        """Read up to `count` bytes. Raises `TooManyLongBodies`."""
        ordinary = settings.ORDINARY_BODY + 1
        body: bytes = source.read(min(count, ordinary))
        if len(body) < ordinary or count == ordinary:
            return body
        if not self._long_bodies.acquire(timeout=LONG_BODY_PATIENCE_S):
            raise TooManyLongBodies(retry_after_s=math.ceil(LONG_BODY_PATIENCE_S))
        place.callback(self._long_bodies.release)
        rest: bytes = source.read(count - len(body))
        return body + rest


def _declared_length(environ: dict[str, Any]) -> int | None:
    """Return the Content-Length, or None for a chunked body."""
    if not environ.get("CONTENT_LENGTH"):
        return None
    try:
        return max(0, int(environ["CONTENT_LENGTH"]))
    except ValueError:
        # gunicorn refuses such requests. Behind other servers, Django treats the body as empty.
        return 0


class _LastAnswer:
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
