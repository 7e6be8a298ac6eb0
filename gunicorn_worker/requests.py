"""How gunicorn reads requests: with bounded headers, and so that one that can't be read is still answered."""

import re
from typing import Any

import gunicorn.http.message
from gunicorn.http import errors
from gunicorn.http.message import Request
from gunicorn.http.parser import RequestParser
from gunicorn.http.unreader import SocketUnreader

from chatapi.service_error import ServiceError
from gunicorn_worker import unreadable_requests as known

# curl and scripts send `?q=größe` as it is typed. gunicorn refuses bytes above 0x7F in an address; Django reads them as UTF-8.
gunicorn.http.message.RFC9112_TARGET_INVALID = re.compile(r"[^\x21-\x7e\x80-\xff]")
# gunicorn would read up to 1 MiB of a body ahead of what the application asks for, and so past every limit on memory.
SocketUnreader.max_body_chunk = 64 * 1024
# All headers of a request together, as at nginx. gunicorn allows 100 fields of the greatest length, which is 1.6 MB, and looks
# for their end from the beginning after each 8 KiB: a few hundred unfinished requests stopped a worker for a minute.
MOST_HEADER_BYTES = 32 * 1024


class KnownRequest(Request):
    """A request whose headers are bounded in sum. Hands over what could be read of it where the rest can't be read."""

    head = b""

    def __init__(self, *given: Any) -> None:
        try:
            super().__init__(*given)
        except errors.ParseException as failure:
            failure.head = self.head
            raise
        finally:
            self.head = b""

    def parse(self, unreader: Any) -> Any:
        self.max_buffer_headers = min(self.max_buffer_headers, MOST_HEADER_BYTES)
        return super().parse(unreader)

    def read_into(self, unreader: Any, buf: Any, stop: bool = False) -> None:
        known = len(buf)
        super().read_into(unreader, buf, stop)
        self.head += buf[known:]


RequestParser.mesg_class = KnownRequest


def head_of(request: Request) -> bytes:
    """Return the start of a request that was read, as it may have been sent."""
    lines = [f"{request.method} {request.uri}", *(f"{name}: {value}" for name, value in request.headers), ""]
    return "\r\n".join(lines).encode("latin-1", "replace")


def error_of(failure: BaseException) -> ServiceError:
    """Return what a client is told about a failure that kept the server from reading its request."""
    if not isinstance(failure, errors.ParseException):
        return ServiceError()
    kinds = {
        errors.LimitRequestLine: known.UrlTooLong,
        errors.LimitRequestHeaders: known.HeadersTooLarge,
        errors.ExpectationFailed: known.UnsupportedExpectation,
        errors.UnsupportedTransferCoding: known.UnsupportedTransferCoding,
    }
    return next((problem for kind, problem in kinds.items() if isinstance(failure, kind)), known.UnreadableRequest)()
