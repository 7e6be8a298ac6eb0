"""HTTP connections whose calls end in time, and at once where another thread says so (see `calls`)."""

import contextlib
import functools
import http.client
import logging
import queue
import re
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import urllib3
from django.conf import settings
from requests.utils import DEFAULT_CA_BUNDLE_PATH
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.util import create_urllib3_context

from chatapi.outgoing.calls import Call, current_call
from chatapi.outgoing.connecting import connect
from chatapi.outgoing.name_lookups import Address, name_lookups

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 5.0
# Load balancers usually forget a connection that was idle for 60 s, some without a word.
IDLE_S = 50.0
# What a service says of itself in the header Keep-Alive. We stop this long before it does.
IDLE_HINT = re.compile(r"\btimeout\s*=\s*(\d{1,6})\b", re.IGNORECASE)
LAST_HINT = re.compile(r"\bmax\s*=\s*0+\b", re.IGNORECASE)
HINT_MARGIN_S = 1.0
# A connection that is busy is never idle. At this age it is replaced, so that a name that leads elsewhere is followed.
MOST_AGE_S = 300.0
# Status line and headers together, those of interim answers included; trailers again as much.
MAX_HEAD_BYTES = 64 * 1024


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


# What the mixins below are mixed into.
if TYPE_CHECKING:
    from urllib3.connection import HTTPConnection as _Connection
    from urllib3.connectionpool import HTTPConnectionPool as _Pool
else:
    _Connection = _Pool = object


class _BoundedResponse(http.client.HTTPResponse):
    """A response with a bounded head, which any number of interim answers (100 to 199) may precede."""

    fp: Any

    def begin(self) -> None:
        with self._bounded_head():
            super().begin()

    def _read_status(self) -> tuple[str, int, str]:
        hidden: Any = super()
        # http.client skips 100 alone; 102 and 103 are as much an interim answer, only 101 ends the exchange.
        while True:
            version, status, reason = hidden._read_status()
            if (call := current_call()) is not None:
                call.note_response()
            if not 100 <= status < 200 or status == http.HTTPStatus.SWITCHING_PROTOCOLS:
                return version, status, reason
            http.client.parse_headers(self.fp)

    def _read_and_discard_trailer(self) -> None:
        hidden: Any = super()
        with self._bounded_head():
            hidden._read_and_discard_trailer()

    @contextlib.contextmanager
    def _bounded_head(self) -> Iterator[None]:
        stream = self.fp
        self.fp = _BoundedReader(stream)
        try:
            yield
        finally:
            if self.fp is not None:
                self.fp = stream


class _WatchedMixin(_Connection):
    """Hand the socket to the call that is being made, and send its request in one piece."""

    response_class: Any = _BoundedResponse
    sock: Any
    host: str
    port: int
    timeout: Any
    _dns_host: str
    _call: Call | None = None
    # Since when it has waited in its pool (monotonic). None where it has served no call yet.
    _idle_since: float | None = None
    # Since when it is connected (monotonic), where to, and for how long the service lets it be idle, where it says so.
    _connected_at = 0.0
    _address: Address | None = None
    _service_idle_s: float | None = None
    # The request's head and body, until both are known.
    _unsent: list[bytes] | None = None

    def request(self, *args: Any, **kwargs: Any) -> None:
        self._call = current_call()
        if self._call is not None:
            if self.sock is not None:
                self._call.attach(self.sock)
            self._call.note_request(over_kept=self.sock is not None and self._idle_since is not None)
        self._idle_since = None
        unsent: list[bytes] = []
        self._unsent = unsent
        try:
            super().request(*args, **kwargs)
        finally:
            self._unsent = None
        self.send(b"".join(unsent))

    def _new_conn(self) -> socket.socket:
        call = current_call()
        self._idle_since = self._service_idle_s = self._address = None
        self._connected_at = time.monotonic()
        try:
            sock = connect(self._dns_host, self.port, call=call, limit_s=self.timeout or CONNECT_TIMEOUT_S)
            self._address = Address(sock.family, sock.getpeername())
            return sock
        except OSError as failure:
            if call is not None and call.has_ended:
                raise
            if isinstance(failure, socket.gaierror):
                raise urllib3.exceptions.NameResolutionError(self.host, self, failure) from failure
            if isinstance(failure, TimeoutError):
                raise urllib3.exceptions.ConnectTimeoutError(self, f"{self.host} did not accept in time") from failure
            raise urllib3.exceptions.NewConnectionError(self, f"{self.host} can't be reached: {failure}") from failure

    def send(self, data: Any) -> None:
        if self._unsent is None:
            super().send(data)
        else:
            self._unsent.append(data)

    def answer(self) -> http.client.HTTPResponse:
        """Wait for the head of the answer to the request, and return it as http.client reads it."""
        self.sock.settimeout(None)
        head = http.client.HTTPConnection.getresponse(self)
        self._read_hints(head.headers.get("Keep-Alive"))
        return head

    def getresponse(self) -> Any:
        response = super().getresponse()
        self._read_hints(response.headers.get("Keep-Alive"))
        return response

    def _read_hints(self, keep_alive: str | None) -> None:
        if keep_alive is None:
            return
        if LAST_HINT.search(keep_alive):
            self._service_idle_s = 0.0
        elif hint := IDLE_HINT.search(keep_alive):
            self._service_idle_s = float(hint[1])

    def avoid_address(self) -> None:
        """Have the next connections prefer the host's other addresses, because this one accepted and was silent."""
        if self._address is not None:
            name_lookups.avoid(self._address)

    @property
    def is_connected(self) -> bool:
        """Whether an idle connection can be used: it is not too old, and its other end has not closed it or sent anything."""
        sock = self.sock
        if self._idle_since is not None and self._is_too_old(time.monotonic()):
            return False
        if sock is None or isinstance(sock, ssl.SSLSocket):
            # What a TLS connection has received can't be looked at without reading it.
            return bool(super().is_connected)
        # urllib3 would poll it, which takes a turn of an event loop.
        sock.settimeout(0)
        try:
            sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            pass
        return False

    def _is_too_old(self, now: float) -> bool:
        assert self._idle_since is not None
        limit_s = IDLE_S if self._service_idle_s is None else min(IDLE_S, self._service_idle_s - HINT_MARGIN_S)
        return now - self._idle_since > limit_s or now - self._connected_at > MOST_AGE_S

    def leave_call(self) -> bool:
        """Take the socket back from the call; return whether it can serve another."""
        call, self._call = self._call, None
        self._idle_since = time.monotonic()
        if call is None:
            return True
        call.detach()
        return not call.has_ended


class _HTTPConnection(_WatchedMixin, HTTPConnection):
    pass


class _HTTPSConnection(_WatchedMixin, HTTPSConnection):
    _shaking_hands: socket.socket | None = None

    def _new_conn(self) -> socket.socket:
        sock = super()._new_conn()
        # The TLS socket takes the descriptor away from this one at the start of the handshake, and exists for us only after
        # its end. Meanwhile the call holds a duplicate.
        self._shaking_hands = sock.dup()
        if (call := current_call()) is not None:
            try:
                call.attach(self._shaking_hands)
            except ConnectionAbortedError:
                sock.close()
                raise
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
                if (call := current_call()) is not None:
                    call.detach()
                self._shaking_hands.close()
                self._shaking_hands = None


def note_silence(connection: Any) -> None:
    """Avoid the address of a connection that failed because no answer began in time."""
    call = current_call()
    if call is not None and (call.is_late or call.is_silent):
        connection.avoid_address()


class _PoolMixin(_Pool):
    def _make_request(self, conn: Any, *args: Any, **kwargs: Any) -> Any:
        was_kept = not conn.is_closed
        try:
            return super()._make_request(conn, *args, **kwargs)
        except Exception:
            call = current_call()
            note_silence(conn)
            if was_kept and not (call is not None and call.is_cut):
                self.drop_idle()
            raise

    def drop_idle(self) -> None:
        """Close the connections that wait for another call: one of them was dead, so the others are likely to be."""
        with contextlib.suppress(queue.Empty):
            while self.pool is not None:
                if (idle := self.pool.get(block=False)) is not None:
                    idle.close()

    def _put_conn(self, conn: Any) -> None:
        # The reader comes here when it has read the answer to its end.
        if conn is not None and not conn.leave_call():
            conn.close()
        super()._put_conn(conn)


class _HTTPPool(_PoolMixin, HTTPConnectionPool):
    ConnectionCls = _HTTPConnection


class _HTTPSPool(_PoolMixin, HTTPSConnectionPool):
    ConnectionCls = _HTTPSConnection


def new_pools(*, hosts: int, connections: int) -> urllib3.PoolManager:
    """Return connection pools for `hosts` hosts that keep up to `connections` connections each for the calls to come."""
    pools = urllib3.PoolManager(num_pools=hosts, maxsize=connections, block=False, retries=False)
    pools.pool_classes_by_scheme = {"http": _HTTPPool, "https": _HTTPSPool}
    return pools
