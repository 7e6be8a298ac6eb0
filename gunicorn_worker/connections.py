"""Clients' connections: accepting them while there are descriptors, sending to them, refusing one too many."""

import contextlib
import errno
import json
import os
import resource
import sys
import time
from typing import Any

import gevent
import gevent.socket
from gevent.server import StreamServer
from gunicorn.glogging import Logger

from chatapi.permits.limit import Limit
from chatapi.service_error import ServiceError
from gunicorn_worker.waiting import WRITABLE

# No file descriptors are left, in this process or on the machine, or no memory for a socket.
EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
# Of its descriptors, a worker keeps a quarter, at most this many, for what it opens itself: to PostgreSQL, in order to save
# running replies, and to the other services.
MOST_RESERVED = 128
# How long nothing is accepted while they are short, and how often that is logged.
EXHAUSTED_PAUSE_S = 0.1
EXHAUSTED_LOG_PAUSE_S = 10.0
LOOP_TURN_S = 0.001


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
