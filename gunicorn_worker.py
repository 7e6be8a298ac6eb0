"""The gevent worker class: a cheaper socket for clients, and a graceful end where gunicorn's own worker exits at once.

Like gunicorn.conf.py, this module must not import anything that imports psycopg.
"""

import contextlib
import errno
import json
import mmap
import os
import re
import resource
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Generator
from functools import partial
from pathlib import Path
from typing import Any

import gevent
import gevent.socket
import gunicorn.http.message
from gevent.monkey import get_original
from gevent.server import StreamServer
from gunicorn.glogging import Logger
from gunicorn.http import errors
from gunicorn.http.message import Request
from gunicorn.http.parser import RequestParser
from gunicorn.http.unreader import SocketUnreader
from gunicorn.workers.ggevent import GeventWorker

from chatapi.incoming.arrival import note_arrival
from chatapi.permits.limit import Limit
from chatapi.permits.permit import Permits
from chatapi.permits.shares import fair_share
from chatapi.service_error import ServiceError

# gevent would note the stack that spawned each greenlet. Every stream has two greenlets, and only gevent's debugger reads it.
gevent.config.track_greenlet_tree = False
# curl and scripts send `?q=größe` as it is typed. gunicorn refuses bytes above 0x7F in an address; Django reads them as UTF-8.
gunicorn.http.message.RFC9112_TARGET_INVALID = re.compile(r"[^\x21-\x7e\x80-\xff]")
# gunicorn would read up to 1 MiB of a body ahead of what the application asks for, and so past every limit on memory.
SocketUnreader.max_body_chunk = 64 * 1024
# All headers of a request together, as at nginx. gunicorn allows 100 fields of the greatest length, which is 1.6 MB, and looks
# for their end from the beginning after each 8 KiB: a few hundred unfinished requests stopped a worker for a minute.
MOST_HEADER_BYTES = 32 * 1024
# Seconds in which a client may go on sending a request that is refused, so that it sees the answer before a reset.
LINGER_S = 2
# The same numbers in psycopg (`Wait` and `Ready`) and in gevent.
READABLE, WRITABLE = 1, 2
Wait = Callable[..., Any]
# No file descriptors are left, in this process or on the machine, or no memory for a socket.
EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
# Of its descriptors, a worker keeps a quarter, at most this many, for what it opens itself: to PostgreSQL, in order to save
# running replies, and to the other services.
MOST_RESERVED = 128
# How long nothing is accepted while they are short, and how often that is logged.
EXHAUSTED_PAUSE_S = 0.1
EXHAUSTED_LOG_PAUSE_S = 10.0
LOOP_TURN_S = 0.001


# How long an old worker waits for a new one that never becomes ready, and how often it looks.
MOST_WAIT_FOR_SUCCESSOR_S = 120.0
SUCCESSOR_PAUSE_S = 0.1


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


class TooManyConnections(ServiceError):
    code = "throttled"
    status = 429
    detail = "Too many connections are open from your IP address. Close some of them, then try again."


CONNECTIONS = Limit(
    what="connections",
    per="worker; one client address gets at most half, proxies of yours as many as they need",
    refusal=TooManyConnections,
    retry_after_s=5,
)


class ClientSocket(gevent.socket.socket):
    """A client's socket that sends before it prepares to wait.

    gevent's `sendall` asks the kernel for the size of the send buffer and wraps the data first, at every call. A piece of a
    stream is small and almost always fits, so a plain `send` is enough. Measured: 12 to 18 % of a relayed token.
    """

    __slots__ = ()

    def sendall(self, data: Any, flags: int = 0) -> None:
        try:
            sent = self._sock.send(data, flags)
        except BlockingIOError:
            sent = 0
        if sent < len(data):
            super().sendall(memoryview(data)[sent:], flags)


def refuse_connection(client: gevent.socket.socket) -> None:
    """Refuse a connection without a look at what is asked, and at once: this must cost less than to open another one."""
    body = json.dumps(TooManyConnections().as_json()).encode()
    head = f"HTTP/1.1 429 Too Many Requests\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    with contextlib.suppress(OSError):
        client.setblocking(False)
        client.send(f"{head}\r\nRetry-After: 5\r\nConnection: close\r\n\r\n".encode() + body)
    client.close()


def least_reserved_descriptor() -> int:
    """Return the number from which on descriptors are kept for what a worker opens itself."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if limit == resource.RLIM_INFINITY else limit - min(limit // 4, MOST_RESERVED)


def receive_when_ready(sock: gevent.socket.socket, size: int) -> bytes:
    """Wait until a socket has bytes or has ended, then read. gevent's `recv` reads first, and in a stream mostly in vain."""
    gevent.get_hub().wait(sock._read_event)
    data: bytes = sock._sock.recv(size)
    return data


def database_wait(patient_wait: Wait) -> Wait:
    """Return what psycopg waits with for its sockets, instead of `patient_wait`, its own function.

    That one makes a poll object and a timer for every wait, and has the event loop look whether a socket is writable, which one
    almost always is. `patient_wait` still serves the rare waits that have a time limit.
    """
    poll = get_original("select", "poll")

    def wait(generator: Generator[int, int, Any], fileno: int, interval: float = 0.0, timeout: float | None = None) -> Any:
        if timeout is not None:
            return patient_wait(generator, fileno, interval, timeout)
        try:
            wanted = next(generator)
            while True:
                wanted = generator.send(wait_until_ready(fileno, wanted))
        except StopIteration as end:
            return end.value

    def wait_until_ready(fileno: int, wanted: int) -> int:
        if not wanted & WRITABLE:
            wait_in_loop(fileno, wanted)
            return READABLE
        while not (ready := what_is_ready(fileno, wanted)):
            wait_in_loop(fileno, wanted)
        return ready

    def what_is_ready(fileno: int, wanted: int) -> int:
        poller = poll()
        poller.register(fileno, (select.POLLIN if wanted & READABLE else 0) | select.POLLOUT)
        found = poller.poll(0)
        if not found:
            return 0
        event = found[0][1]
        # A broken connection counts as ready for everything: psycopg then finds the failure.
        is_broken = event & ~(select.POLLIN | select.POLLOUT)
        return wanted if is_broken else (event & select.POLLIN and READABLE) | (event & select.POLLOUT and WRITABLE)

    def wait_in_loop(fileno: int, wanted: int) -> None:
        hub = gevent.get_hub()
        watcher = hub.loop.io(fileno, wanted)
        try:
            hub.wait(watcher)
        finally:
            watcher.close()

    return wait


def error_of(failure: BaseException) -> ServiceError:
    """Return what a client is told about a failure that kept the server from reading its request."""
    from chatapi.incoming import unreadable_requests as known

    if not isinstance(failure, errors.ParseException):
        return ServiceError()
    kinds = {
        errors.LimitRequestLine: known.UrlTooLong,
        errors.LimitRequestHeaders: known.HeadersTooLarge,
        errors.ExpectationFailed: known.UnsupportedExpectation,
        errors.UnsupportedTransferCoding: known.UnsupportedTransferCoding,
    }
    return next((problem for kind, problem in kinds.items() if isinstance(failure, kind)), known.UnreadableRequest)()


class Listener(StreamServer):
    """gevent's accept loop, which accepts nothing while descriptors or memory are short. New connections wait in the kernel.

    gevent alone would take the last descriptor for a client, and log a traceback for each attempt to accept another one.
    """

    _log_again_at = 0.0
    _newest_descriptor = 0

    def __init__(self, *arguments: Any, log: Logger, **options: Any) -> None:
        self._log = log
        super().__init__(*arguments, **options)

    def do_read(self) -> Any:
        try:
            if self._are_descriptors_short():
                return self._pause("few descriptors")
            accepted = super().do_read()
        except MemoryError:
            return self._pause("MemoryError")
        except OSError as failure:
            if failure.errno not in EXHAUSTED:
                raise
            return self._pause(errno.errorcode[failure.errno])
        if accepted:
            self._newest_descriptor = accepted[0].fileno()
        return accepted

    def _are_descriptors_short(self) -> bool:
        least_reserved = least_reserved_descriptor()
        if self._newest_descriptor < least_reserved:
            return False
        # A new descriptor has the lowest number that is free.
        self._newest_descriptor = os.dup(self.socket.fileno())
        os.close(self._newest_descriptor)
        return self._newest_descriptor >= least_reserved

    def close(self) -> None:
        """Close the socket, and have the kernel report nothing of it any more: the master has it, too, and listens on.

        libev would answer an event of a descriptor that is closed by making a new epoll object. Without descriptors, that
        fails, and the failure ends the worker before it has saved its replies. libev tells the kernel which events it waits
        for, but not that it waits for none, so it waits for one that does not come.
        """
        if (listening := vars(self).get("socket")) is not None:
            self.stop_accepting()
            with contextlib.closing(self.loop.io(listening.fileno(), WRITABLE)) as watcher:
                watcher.start(int)
                # One turn of the loop. With 0 it would look for no events.
                gevent.sleep(LOOP_TURN_S)
        super().close()

    def _pause(self, reason: str) -> None:
        # Without it, the loop would try again at once and use a whole core: a connection that waits is readable.
        self.stop_accepting()
        self._timer = self.loop.timer(EXHAUSTED_PAUSE_S)
        self._timer.start(self._start_accepting_if_started)
        now = time.monotonic()
        if now >= Listener._log_again_at:
            # For all listeners of this process.
            Listener._log_again_at = now + EXHAUSTED_LOG_PAUSE_S
            self._log.warning("new connections wait: descriptors or memory are short", extra={"error": reason})


class ServerLog(Logger):
    """gunicorn's messages without its access log, for which it would gather 20 values and all headers of every request."""

    def access(self, resp: Any, req: Any, environ: Any, request_time: Any) -> None:
        """Do nothing: `chatapi.requests` logs the requests."""


class Handover:
    """Whether a new worker is ready after a reload: memory that the master shares with its workers.

    A worker's age is its number: a newer one has a higher age.
    """

    def __init__(self) -> None:
        # The newest worker of before the last reload, and the newest one that is ready.
        self._ages = memoryview(mmap.mmap(-1, mmap.PAGESIZE)).cast("q")

    def note_reload(self, newest_age: int) -> None:
        self._ages[0] = newest_age

    def note_ready(self, age: int) -> None:
        self._ages[1] = max(self._ages[1], age)

    def is_awaited(self, age: int) -> bool:
        """Whether a worker is to be replaced by one that is not ready yet."""
        return age <= self._ages[0] >= self._ages[1]


# Here and not in gunicorn.conf.py, which the master reads again at each reload.
handover = Handover()


def does_master_listen(master_pid: int, listener: Any) -> bool:
    """Whether the master still has the socket that it listens on. It closes it before it ends its workers.

    Only Linux tells. Elsewhere the answer is no.
    """
    wanted = f"socket:[{os.fstat(listener.fileno()).st_ino}]"
    with contextlib.suppress(OSError):
        return any(str(opened.readlink()) == wanted for opened in Path(f"/proc/{master_pid}/fd").iterdir())
    return False


class Worker(GeventWorker):
    """A gevent worker that also ends gracefully on SIGHUP and without its master, and logs slow clients as information."""

    is_waiting_for_successor = False

    def init_process(self) -> None:
        # gunicorn asks some thirty settings for each request, and looks each up through `__getattr__`. In a worker only
        # `keepalive` changes (see below), so they can be attributes.
        vars(self.cfg).update({name: setting.get() for name, setting in self.cfg.settings.items()})
        super().init_process()

    def server_class(
        self, listener: Any, *, spawn: Any, application: Any, log: Any, handler_class: Any, environ: Any, **tls: Any
    ) -> Any:
        """Return what accepts connections, as gunicorn's own worker makes it, and remember it."""
        server = Listener(listener, handle=partial(self.handle, listener), spawn=spawn, log=log, **tls)
        if self.cfg.workers > 1:
            server.max_accept = 1
        vars(self).setdefault("servers", []).append(server)
        return server

    def handle_exit(self, sig: Any, frame: Any) -> None:
        """Accept nothing more from now on. gunicorn's loop looks once a second, and what it accepts until then is refused.

        At a reload the master ends the old workers at once, and again each second. They go on until a new one is ready.
        """
        if self.is_waiting_for_successor:
            return
        if self.alive and self._is_successor_awaited():
            self.is_waiting_for_successor = True
            gevent.spawn(self._wait_for_successor)
            return
        self._end(sig, frame)

    def _end(self, sig: Any, frame: Any) -> None:
        super().handle_exit(sig, frame)
        for server in vars(self).get("servers", ()):
            gevent.spawn(server.stop_accepting)

    def _is_successor_awaited(self) -> bool:
        return handover.is_awaited(self.age) and does_master_listen(self.ppid, self.sockets[0])

    def _wait_for_successor(self) -> None:
        give_up_at = time.monotonic() + MOST_WAIT_FOR_SUCCESSOR_S
        while self.alive and self._is_successor_awaited() and time.monotonic() < give_up_at:
            gevent.sleep(SUCCESSOR_PAUSE_S)
        self.is_waiting_for_successor = False
        self._end(signal.SIGTERM, None)

    def close_idle_connections(self) -> None:
        """Keep no connection open after its request. Sets the attribute, which hides the setting."""
        vars(self.cfg)["keepalive"] = 0

    def share_connections(self, group_of: Any) -> None:
        """Let no address have more than half of the connections. `group_of` returns the client for an address of a peer."""
        most = min(self.worker_connections, least_reserved_descriptor())
        self.group_of, self.connections = group_of, Permits(CONNECTIONS, fair_share(most, least=most // 2))

    def handle(self, listener: Any, client: Any, addr: Any) -> None:
        # A Unix socket has no address, and a proxy of ours is no client.
        group = self.group_of(addr[0]) if isinstance(addr, tuple) else None
        if group is None:
            self.serve(listener, client, addr)
        elif (permit := self.connections.take(group)) is None:
            refuse_connection(client)
        else:
            with permit:
                self.serve(listener, client, addr)

    def serve(self, listener: Any, client: Any, addr: Any) -> None:
        # TLS sockets keep their own class: they encrypt in `send`.
        if type(client) is gevent.socket.socket:
            client.__class__ = ClientSocket
        # An ending worker accepts no connection. Of one that it has accepted, it answers the first request.
        note_arrival(before_end=True)
        super().handle(listener, client, addr)

    def handle_request(self, listener_name: Any, req: Any, sock: Any, addr: Any) -> None:
        try:
            super().handle_request(listener_name, req, sock, addr)
            note_arrival(before_end=self.alive)
        except OSError as failure:
            # The socket timed out, or a deadline shut it down. The client is slow; gunicorn would log an error.
            if isinstance(failure, TimeoutError) or failure.errno == errno.EBADF:
                self.log.info("client too slow")
                raise StopIteration from None
            raise

    def handle_error(self, req: Any, client: Any, addr: Any, exc: Any) -> None:
        """Answer a request that could not be read, or that failed outside of Django, in the form of the service's errors."""
        from chatapi.incoming.unreadable_requests import respond_to_unreadable

        if isinstance(exc, OSError):
            # A TLS connection that did not come about.
            super().handle_error(req, client, addr, exc)
            return
        if not isinstance(exc, errors.ParseException):
            self.log.exception("Error handling request")
        head = getattr(exc, "head", b"")
        if req is not None:
            lines = [f"{req.method} {req.uri}", *(f"{name}: {value}" for name, value in req.headers), ""]
            head = "\r\n".join(lines).encode("latin-1", "replace")
        address = addr[0] if isinstance(addr, tuple) and addr else ""
        with contextlib.suppress(OSError):
            client.sendall(respond_to_unreadable(self.wsgi, error_of(exc), head, address))
            client.shutdown(socket.SHUT_WR)
            with gevent.Timeout(LINGER_S, False):
                while client.recv(64 * 1024):
                    pass

    def init_signals(self) -> None:
        super().init_signals()
        # A terminal that closes sends SIGHUP to all its processes. The master reloads on it; a worker must end gracefully.
        signal.signal(signal.SIGHUP, self.handle_exit)

    def notify(self) -> None:
        """Tell the master that this worker is alive. Without a master, end as on SIGTERM; gunicorn alone would exit at once."""
        self.tmp.notify()
        if self.alive and self.ppid != os.getppid():
            self.log.info("Parent changed, shutting down: %s", self)
            self.alive = False
