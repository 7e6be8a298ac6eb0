"""Responses to requests that the server could not read: JSON like every other error, instead of the server's own HTML.

Principle: this answer is made by the application, from the little that could be read: the path, which decides the form of
the error, the Origin, so that a page may read it, and the client's address. So it is logged, counted and limited like others.
"""

import io
import sys
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

from chatapi.service_error import ERROR_KEY, ServiceError

READ_HEADERS = frozenset({"origin", "x-forwarded-for", "x-trace-id", "x-request-id"})


class UnreadableRequest(ServiceError):
    code = "invalid"
    status = 400
    detail = "The server could not read the request."


class HeadersTooLarge(UnreadableRequest):
    code = "headers_too_large"
    status = 431
    detail = "The headers of the request are too large, perhaps because of a long token or many cookies."


class UrlTooLong(UnreadableRequest):
    code = "url_too_long"
    status = 414
    detail = "The URL of the request is too long."


class UnsupportedExpectation(UnreadableRequest):
    status = 417
    detail = "The server does not support this Expect header."


class UnsupportedTransferCoding(UnreadableRequest):
    status = 501
    detail = "The server does not support this Transfer-Encoding."


def respond_to_unreadable(application: Callable[..., Iterable[bytes]], error: ServiceError, head: bytes, address: str) -> bytes:
    """Return the whole response to a request of which `head` was read. The connection closes after it."""
    started: list[Any] = []
    environ = _environ(head, address)
    environ[ERROR_KEY] = error
    answer = application(environ, lambda status, headers, exc_info=None: started.extend((status, headers)))
    try:
        body = b"".join(answer)
    finally:
        if close := getattr(answer, "close", None):
            close()
    status, headers = started
    lines = [f"{name}: {value}" for name, value in headers if name.lower() not in ("connection", "content-length")]
    lines += [f"Content-Length: {len(body)}", "Connection: close", "", ""]
    return "\r\n".join([f"HTTP/1.1 {status}", *lines]).encode("latin-1") + body


def _environ(head: bytes, address: str) -> dict[str, Any]:
    request_line, *lines = head.decode("latin-1").split("\r\n")
    # The last one may be incomplete.
    pairs = [line.partition(":")[::2] for line in lines[:-1]]
    given = {name.lower(): value.strip() for name, value in pairs if name.lower() in READ_HEADERS}
    return {
        # The true one may be unreadable, and OPTIONS would be answered without a look at the error.
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": _path(request_line),
        "QUERY_STRING": "",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": address,
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        **{f"HTTP_{name.upper().replace('-', '_')}": value for name, value in given.items()},
    }


def _path(request_line: str) -> str:
    _, _, rest = request_line.partition(" ")
    target = rest.split(" ")[0].split("?")[0]
    try:
        path = target if target.startswith("/") else urlsplit(target).path
    except ValueError:
        path = ""
    return unquote_to_bytes(path.encode("latin-1")).decode("latin-1") if path.startswith("/") else "/"
