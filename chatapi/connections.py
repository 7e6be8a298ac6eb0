"""HTTP connections whose calls end in time, and at once where another thread says so.

A call that waits can't be interrupted from outside: closing its response from another thread fails, and before the response's
headers there is nothing to close. Shutting down the socket works at every stage and in every kind of thread. So a connection
hands its socket to the call that uses it as soon as it has one, and takes it back before it returns to its pool: from then on
the socket may serve another call.
"""

import contextlib
import functools
import http.client
import logging
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextvars import ContextVar, Token
from pathlib import Path
from typing import Any

import urllib3
from django.conf import settings
from requests.utils import DEFAULT_CA_BUNDLE_PATH
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.util import create_urllib3_context

from chatapi.deadlines import Deadline

logger = logging.getLogger(__name__)

# Status line and headers together, those of interim answers included; trailers again as much.
MAX_HEAD_BYTES = 64 * 1024

# A kept connection that a router in between has forgotten is noticed within 20 s, as the database's are.
KEEPALIVE = [
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    *(
        (socket.IPPROTO_TCP, getattr(socket, name), value)
        for name, value in (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 2))
        if hasattr(socket, name)
    ),
]

_current_call: ContextVar["Call | None"] = ContextVar("outbound_call", default=None)


@functools.cache
def tls_context() -> ssl.SSLContext:
    """Return what every outgoing TLS connection trusts: the well-known authorities, or what replaces them, and our own."""
    context = create_urllib3_context()
    for path in settings.TLS_TRUSTED:
        _trust(context, path)
    if not settings.TLS_TRUSTED:
        context.load_default_certs()
        if not context.get_ca_certs():
            _trust(context, DEFAULT_CA_BUNDLE_PATH)
    if settings.TLS_CA_FILE:
        _trust(context, settings.TLS_CA_FILE)
    return context


def _trust(context: ssl.SSLContext, path: str) -> None:
    if Path(path).is_dir():
        context.load_verify_locations(capath=path)
    else:
        context.load_verify_locations(cafile=path)


class Call:
    """One call's hold on its socket. In its `with` block connections of this thread belong to it."""

    def __init__(self, deadline_s: float) -> None:
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._token: Token[Call | None] | None = None
        self.is_cut = False
        self.is_late = False
        self.deadline = Deadline(time.monotonic() + deadline_s, self._cut_late)

    def __enter__(self) -> "Call":
        self._token = _current_call.set(self)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._token is not None
        _current_call.reset(self._token)

    def cut(self) -> None:
        """End the call from any thread: its reader gets the end of the stream or a failure at once."""
        with self._lock:
            self.is_cut = True
            self._shut_down()

    def finish(self) -> None:
        """Let go of socket and deadline: neither a cut nor the clock can do anything from here on."""
        self.deadline.cancel()
        self.detach()

    def attach(self, sock: socket.socket) -> None:
        """Take a socket over from its connection. Raises `ConnectionAbortedError` where the call has ended meanwhile."""
        with self._lock:
            if self.is_cut or self.is_late:
                raise ConnectionAbortedError("the call was cut")
            self._socket = sock

    def detach(self) -> None:
        """Give the socket back."""
        with self._lock:
            self._socket = None

    def _cut_late(self) -> None:
        with self._lock:
            self.is_late = True
            self._shut_down()

    def _shut_down(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):
                # Not the method of a TLS socket, which would have its reader go on without decrypting.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


class _BoundedReader:
    """The lines of a stream, up to a number of bytes."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._left = MAX_HEAD_BYTES

    def readline(self, size: int) -> bytes:
        line: bytes = self._stream.readline(size)
        self._left -= len(line)
        if self._left < 0:
            raise http.client.LineTooLong("head")
        return line

    def close(self) -> None:
        self._stream.close()


class _BoundedResponse(http.client.HTTPResponse):
    """A response with a bounded head, which any number of interim answers (100 to 199) may precede."""

    fp: Any

    def begin(self) -> None:
        with self._bounded_head():
            super().begin()

    def _read_status(self) -> tuple[str, int, str]:
        # http.client skips 100 alone; 102 and 103 are as much an interim answer, only 101 ends the exchange.
        while True:
            version, status, reason = super()._read_status()  # type: ignore[misc]
            if not 100 <= status < 200 or status == http.HTTPStatus.SWITCHING_PROTOCOLS:
                return version, status, reason
            http.client.parse_headers(self.fp)

    def _read_and_discard_trailer(self) -> None:
        with self._bounded_head():
            super()._read_and_discard_trailer()  # type: ignore[misc]

    @contextlib.contextmanager
    def _bounded_head(self) -> Iterator[None]:
        stream = self.fp
        self.fp = _BoundedReader(stream)
        try:
            yield
        finally:
            if self.fp is not None:
                self.fp = stream


class _WatchedMixin:
    """Hand the socket to the call that is being made, and send its request in one piece."""

    response_class: Any = _BoundedResponse
    sock: Any
    _call: Call | None = None
    # The request's head and body, until both are known.
    _unsent: list[bytes] | None = None

    def request(self, *args: Any, **kwargs: Any) -> None:
        self._call = _current_call.get()
        if self._call is not None and self.sock is not None:
            self._call.attach(self.sock)
        unsent: list[bytes] = []
        self._unsent = unsent
        try:
            super().request(*args, **kwargs)  # type: ignore[misc]
        finally:
            self._unsent = None
        self.send(b"".join(unsent))

    def send(self, data: Any) -> None:
        if self._unsent is None:
            super().send(data)  # type: ignore[misc]
        else:
            self._unsent.append(data)

    def answer(self) -> http.client.HTTPResponse:
        """Wait for the head of the answer to the request, and return it as http.client reads it."""
        self.sock.settimeout(None)
        return http.client.HTTPConnection.getresponse(self)  # type: ignore[arg-type]

    @property
    def is_connected(self) -> bool:
        """Whether an idle connection can be used: its other end has neither closed it nor sent anything yet."""
        sock = self.sock
        if sock is None or isinstance(sock, ssl.SSLSocket):
            # What a TLS connection has received can't be looked at without reading it.
            return bool(super().is_connected)  # type: ignore[misc]
        # urllib3 would poll it, which takes a turn of an event loop.
        sock.settimeout(0)
        try:
            sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            pass
        return False

    def leave_call(self) -> bool:
        """Take the socket back from the call; return whether it can serve another."""
        call, self._call = self._call, None
        if call is None:
            return True
        call.detach()
        return not (call.is_cut or call.is_late)


def _attach(sock: socket.socket, connected: socket.socket) -> None:
    """Hand a socket to the call that is being made; close what was connected where the call has ended meanwhile."""
    if (call := _current_call.get()) is not None:
        try:
            call.attach(sock)
        except ConnectionAbortedError:
            connected.close()
            raise


class _HTTPConnection(_WatchedMixin, HTTPConnection):
    def _new_conn(self) -> socket.socket:
        sock = super()._new_conn()
        _attach(sock, sock)
        return sock


class _HTTPSConnection(_WatchedMixin, HTTPSConnection):
    _shaking_hands: socket.socket | None = None

    def _new_conn(self) -> socket.socket:
        sock = super()._new_conn()
        # The TLS socket takes the descriptor away from this one at the start of the handshake, and exists for us only after
        # its end. Meanwhile the call holds a duplicate.
        self._shaking_hands = sock.dup()
        _attach(self._shaking_hands, sock)
        return sock

    def connect(self) -> None:
        # Whatever requests and urllib3 would trust by themselves, which is not the same.
        self.ssl_context, self.ca_certs, self.ca_cert_dir = tls_context(), None, None
        try:
            super().connect()
        except ssl.SSLCertVerificationError as failure:
            logger.error("TLS certificate rejected", extra={"host": self.host, "error": failure.verify_message})
            raise
        finally:
            if self._shaking_hands is not None:
                if (call := _current_call.get()) is not None:
                    call.detach()
                self._shaking_hands.close()
                self._shaking_hands = None


class PooledAnswer:
    """The head of an answer, and the connection that its body comes over."""

    def __init__(self, pool: Any, connection: Any, head: http.client.HTTPResponse) -> None:
        self._pool = pool
        self._connection = connection
        self.head = head

    def keep_connection(self) -> None:
        """Give the connection back, because it can serve another call. Once."""
        self._pool._put_conn(self._connection)

    def drop_connection(self) -> None:
        """Close the connection, whatever is still to come."""
        self.head.close()
        self._connection.close()


def _ask(connection: Any, target: str, body: bytes, headers: Mapping[str, str]) -> http.client.HTTPResponse:
    """Send a request over a connection, which is made if need be, and return the head of the answer."""
    if connection.is_closed:
        # Before the request, which hands the socket to its call.
        connection.connect()
    # A service may answer and close the connection before it has read everything.
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        connection.request("POST", target, body, headers)
    head: http.client.HTTPResponse = connection.answer()
    return head


class _PoolMixin:
    def post(self, target: str, body: bytes, headers: Mapping[str, str], *, connect_timeout_s: float) -> PooledAnswer:
        """Send a request and wait for the head of its answer. Raises the exceptions of `urlopen`, or an `OSError`.

        `urlopen` costs twice as much: it also redirects, retries and decodes.
        """
        connection = self._get_conn()  # type: ignore[attr-defined]
        was_kept = not connection.is_closed
        try:
            connection.timeout = connect_timeout_s
            try:
                head = _ask(connection, target, body, headers)
            except ConnectionResetError:
                if not was_kept:
                    raise
                # A service may close a connection that it kept at the moment in which it is used again.
                connection.close()
                head = _ask(connection, target, body, headers)
            return PooledAnswer(self, connection, head)
        except BaseException as failure:
            connection.close()
            # In place of the connection.
            self._put_conn(None)
            if isinstance(failure, ssl.SSLError):
                raise urllib3.exceptions.SSLError(failure) from failure
            if isinstance(failure, http.client.HTTPException):
                raise urllib3.exceptions.ProtocolError("Connection aborted.", failure) from failure
            raise

    def _put_conn(self, conn: Any) -> None:
        # The reader comes here when it has read the answer to its end.
        if conn is not None and not conn.leave_call():
            conn.close()
        super()._put_conn(conn)  # type: ignore[misc]


class _HTTPPool(_PoolMixin, HTTPConnectionPool):
    ConnectionCls = _HTTPConnection


class _HTTPSPool(_PoolMixin, HTTPSConnectionPool):
    ConnectionCls = _HTTPSConnection


def new_pools(*, hosts: int, connections: int) -> urllib3.PoolManager:
    """Return connection pools for `hosts` hosts that keep up to `connections` connections each for the calls to come."""
    pools = urllib3.PoolManager(num_pools=hosts, maxsize=connections, block=False, retries=False, socket_options=KEEPALIVE)
    pools.pool_classes_by_scheme = {"http": _HTTPPool, "https": _HTTPSPool}
    return pools
