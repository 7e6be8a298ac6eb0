"""One streaming call to the inference service, which another thread can cut off at any moment.

A call that waits can't be interrupted from outside: closing its response from another thread fails, and before the
response's headers there is nothing to close. Shutting down the socket works at every stage and in every kind of thread, so
the connection class below hands its socket over as soon as the request is sent. It stands on urllib3, the part of requests
that streams: requests itself would double the cost of the call and add nothing to it.
"""

import contextlib
import socket
import time
from contextvars import ContextVar
from typing import Any

import orjson
import urllib3
from django.conf import settings
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from chatapi.outbound import CONNECT_TIMEOUT_S
from inference_proxy.exceptions import failure_of_exception, failure_of_status

READ_BYTES = 65536
POOLED_CONNECTIONS = 256

_current_call: ContextVar["UpstreamCall | None"] = ContextVar("upstream_call", default=None)


class _AnnouncingMixin:
    sock: Any

    def getresponse(self, *args: Any, **kwargs: Any) -> Any:
        if call := _current_call.get():
            call.attach(self.sock)
        return super().getresponse(*args, **kwargs)  # type: ignore[misc]


class _AnnouncingHTTPConnection(_AnnouncingMixin, HTTPConnection):
    pass


class _AnnouncingHTTPSConnection(_AnnouncingMixin, HTTPSConnection):
    pass


class _HTTPPool(HTTPConnectionPool):
    ConnectionCls = _AnnouncingHTTPConnection


class _HTTPSPool(HTTPSConnectionPool):
    ConnectionCls = _AnnouncingHTTPSConnection


_pools = urllib3.PoolManager(num_pools=4, maxsize=POOLED_CONNECTIONS, block=False, retries=False)
_pools.pool_classes_by_scheme = {"http": _HTTPPool, "https": _HTTPSPool}


class UpstreamCall:
    """A `POST` whose answer is read as it comes.

    `start_timeout_s` runs to the first byte of the answer, `idle_timeout_s` between two reads, `total_timeout_s` over all.
    """

    def __init__(self, *, start_timeout_s: float, idle_timeout_s: float, total_timeout_s: float) -> None:
        now = time.monotonic()
        self._start_timeout_s = start_timeout_s
        self._idle_timeout_s = idle_timeout_s
        self._first_byte_by = now + start_timeout_s
        self._end_by = now + total_timeout_s
        self._socket: socket.socket | None = None
        self._response: urllib3.BaseHTTPResponse | None = None
        self._has_read = False
        self.is_cut = False

    def attach(self, sock: socket.socket) -> None:
        """Learn the call's socket, at once when the request has been sent."""
        self._socket = sock
        if self.is_cut:
            self.cut()

    def cut(self) -> None:
        """End the call from any thread: whoever reads it gets the end of the stream or a failure at once."""
        self.is_cut = True
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def open(self, path: str, body: dict[str, Any], headers: dict[str, str]) -> None:
        """Send the request and wait for the answer's headers. Raises `UpstreamFailure`."""
        token = _current_call.set(self)
        try:
            self._response = _pools.request(
                "POST",
                settings.INFERENCE_SERVICE_URL + path,
                body=orjson.dumps(body),
                # identity: a compressor would hold the stream back.
                headers={"Content-Type": "application/json", "Accept-Encoding": "identity", **headers},
                timeout=urllib3.Timeout(connect=min(CONNECT_TIMEOUT_S, self._start_timeout_s), read=self._start_timeout_s),
                redirect=False,
                preload_content=False,
            )
        except (urllib3.exceptions.HTTPError, OSError) as failure:
            raise failure_of_exception(failure) from None
        finally:
            _current_call.reset(token)
        if self._response.status != 200:
            # The body of a refusal is neither read nor shown: it may hold internals, or what the user wrote.
            raise failure_of_status(self._response.status)

    def read(self) -> bytes:
        """Return the next bytes as soon as there are any, b"" at the end. Raises `UpstreamFailure`."""
        assert self._response is not None
        self._limit_wait()
        try:
            chunk: bytes = self._response.read1(READ_BYTES)
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as failure:
            raise failure_of_exception(failure) from None
        if not self._has_read:
            self._has_read = True
            if self._socket is not None:
                self._socket.settimeout(self._idle_timeout_s)
        return chunk

    def _limit_wait(self) -> None:
        remaining = self._end_by - time.monotonic()
        if remaining <= 0:
            raise failure_of_exception(TimeoutError())
        if self._socket is not None and (not self._has_read or remaining < self._idle_timeout_s):
            first = self._idle_timeout_s if self._has_read else max(0.001, self._first_byte_by - time.monotonic())
            self._socket.settimeout(min(remaining, first))

    def close(self) -> None:
        """Give the connection up. Never drains: a reply that nobody wants must stop costing."""
        self.is_cut = True
        if self._response is not None:
            with contextlib.suppress(OSError, urllib3.exceptions.HTTPError):
                self._response.close()
