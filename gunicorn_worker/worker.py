"""The worker class: a graceful end where gunicorn's own worker exits at once, and answers that Django can't give."""

import contextlib
import errno
import os
import signal
import socket
import time
from functools import partial
from typing import Any

import gevent
import gevent.socket
from gunicorn.glogging import Logger
from gunicorn.http import errors
from gunicorn.workers.ggevent import GeventWorker

from chatapi.incoming.arrival import note_arrival
from chatapi.permits.permit import Permits
from chatapi.permits.shares import fair_share
from gunicorn_worker.connections import CONNECTIONS, ClientSocket, Listener, least_reserved_descriptor, refuse_connection
from gunicorn_worker.handover import does_master_listen, handover
from gunicorn_worker.requests import error_of, head_of
from gunicorn_worker.unreadable_requests import respond_to_unreadable

# gevent would note the stack that spawned each greenlet. Every stream has two greenlets, and only gevent's debugger reads it.
gevent.config.track_greenlet_tree = False
# Seconds in which a client may go on sending a request that is refused, so that it sees the answer before a reset.
LINGER_S = 2
# How long an old worker waits for a new one that never becomes ready, and how often it looks.
MOST_WAIT_FOR_SUCCESSOR_S = 120.0
SUCCESSOR_PAUSE_S = 0.1


class ServerLog(Logger):
    """gunicorn's messages without its access log, for which it would gather 20 values and all headers of every request."""

    def access(self, resp: Any, req: Any, environ: Any, request_time: Any) -> None:
        """Do nothing: `chatapi.requests` logs the requests."""


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
        if isinstance(exc, OSError):
            # A TLS connection that did not come about.
            super().handle_error(req, client, addr, exc)
            return
        if not isinstance(exc, errors.ParseException):
            self.log.exception("Error handling request")
        head = getattr(exc, "head", b"") if req is None else head_of(req)
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
