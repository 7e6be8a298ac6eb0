"""A time limit for reading a response, so that a client that reads one byte at a time can't keep it in memory forever.

An ordinary answer has one limit for the whole, longer for a longer answer. A stream has none: it may go on for as long as its
client takes what is there; each write to it has a limit.
"""

from collections.abc import Iterable
from typing import Any
from wsgiref.types import WSGIApplication

from chatapi.incoming.client_deadlines import ClientDeadline

RESPONSE_LIMIT_S = 30.0
SLOWEST_READER_BYTES_PER_S = 32 * 1024
STREAM_WRITE_LIMIT_S = 60.0
FILE_LIMIT_S = 120.0


class TimelyResponses:
    """Give the client of every answer a limited time to read it."""

    def __init__(self, application: WSGIApplication) -> None:
        self._application = application

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        # Servers other than gunicorn don't provide their socket.
        sock = environ.get("gunicorn.socket")
        if sock is None:
            return self._application(environ, start_response)
        # The limit of the connection's previous answer no longer applies.
        sock.settimeout(None)
        answer: Any = self._application(environ, start_response)
        if isinstance(answer, environ["wsgi.file_wrapper"]):
            _limit_file(answer, sock)
        elif not getattr(answer, "streaming", False):
            # It is one piece, and a socket's timeout holds for a piece as a whole.
            sock.settimeout(RESPONSE_LIMIT_S + len(getattr(answer, "content", b"")) / SLOWEST_READER_BYTES_PER_S)
        elif sock.gettimeout() is None:
            sock.settimeout(STREAM_WRITE_LIMIT_S)
        timely: Iterable[bytes] = answer
        return timely


def _limit_file(answer: Any, sock: Any) -> None:
    # The server writes it in many pieces. It must get the same object, because it recognizes a file by its type.
    deadline = ClientDeadline(sock, FILE_LIMIT_S, "file not read in time")
    close = answer.close

    def close_in_time() -> None:
        deadline.lift()
        close()

    answer.close = close_in_time
