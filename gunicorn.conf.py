"""gunicorn's configuration: one gevent worker per WEB_CONCURRENCY, JSON logs, replies that are saved however the server ends.

Nothing that imports psycopg is imported at the top: it must not be imported before gevent has patched `select`, or one
slow query would stop every greenlet of the worker.
"""

import errno
import os
import signal
import sys

from gunicorn.workers.ggevent import GeventWorker

from chatapi.environment import EnvironmentProblem, EnvironmentReader
from chatapi.observability.logs import logging_configuration

_environment = EnvironmentReader(os.environ)
try:
    _port = _environment.whole("PORT", 8002, least=1, most=65535)
    workers = _environment.whole("WEB_CONCURRENCY", 1, least=1, most=1000)
    logconfig_dict = logging_configuration(_environment.log_level("LOG_LEVEL"))
except EnvironmentProblem as problem:
    sys.exit(str(problem))


class Worker(GeventWorker):
    """A gevent worker that saves its replies however its server goes, and gives up slow clients quietly."""

    def handle_request(self, listener_name, req, sock, addr):  # type: ignore[no-untyped-def]
        try:
            super().handle_request(listener_name, req, sock, addr)
        except OSError as failure:
            # A timeout of the socket, or a shutdown by its deadline: the client's affair, where gunicorn logs an error.
            if isinstance(failure, TimeoutError) or failure.errno == errno.EBADF:
                self.log.info("client too slow")
                raise StopIteration from None
            raise

    def init_signals(self):  # type: ignore[no-untyped-def]
        super().init_signals()
        # A terminal that is closed sends it to all processes. The master takes it as the wish to reload.
        signal.signal(signal.SIGHUP, self.handle_exit)

    def notify(self):  # type: ignore[no-untyped-def]
        """Tell the master that this worker lives. Without a master, end as on SIGTERM; gunicorn's own would exit at once."""
        self.tmp.notify()
        if self.alive and self.ppid != os.getppid():
            self.log.info("Parent changed, shutting down: %s", self)
            self.alive = False


bind = f"{_environment.text('BIND', '0.0.0.0')}:{_port}"  # noqa: S104  # a service in a container
worker_class = Worker
worker_connections = 10_000
backlog = 2048
# Also the time in which the headers of a request must have come.
keepalive = 5
graceful_timeout = 30
timeout = 60
# A worker that restarts after so many requests would cut its streams.
max_requests = 0
preload_app = False
control_socket_disable = True
# Which proxies may say who a client is, TRUSTED_PROXIES decides; gunicorn's own default would trust everyone on this machine.
forwarded_allow_ips = ""


def when_ready(server):  # type: ignore[no-untyped-def]
    """Say once what only several workers have to know."""
    if workers > 1 and not _environment.text("CACHE_URL"):
        server.log.warning(
            f"CACHE_URL is not set: each of the {workers} workers counts requests and remembers tokens by itself, "
            f"so that limits are up to {workers} times as high"
        )


def post_worker_init(worker):  # type: ignore[no-untyped-def]
    """Let the service watch its worker, so that running replies are saved before the worker is killed."""
    from gevent.threadpool import ThreadPool

    from chatapi.password_hashing import hash_passwords_with
    from chatapi.server_hooks import adopt_worker

    # One thread: hashing takes at most one core, and never the event loop.
    hash_passwords_with(ThreadPool(1).apply)
    adopt_worker(
        is_alive=lambda: worker.alive,
        graceful_timeout_s=worker.cfg.graceful_timeout,
        # A stream that ends in the last seconds leaves a connection that waits for another request, until the worker is killed.
        close_idle_connections=lambda: worker.cfg.set("keepalive", 0),
    )


def pre_request(worker, req):  # type: ignore[no-untyped-def]
    """Let the service close the connection of a request whose body it has not read: WSGI has no way to ask for that."""
    req.body.close_connection = req.force_close


def worker_int(worker):  # type: ignore[no-untyped-def]
    """Save the replies before the worker quits, which it does after this: on SIGINT and SIGQUIT, so on Ctrl-C."""
    from chatapi.server_hooks import end_replies_now

    end_replies_now()


def worker_exit(server, worker):  # type: ignore[no-untyped-def]
    """Save the replies that nobody is reading, too. The master calls this for workers that are gone already."""
    if worker.pid == os.getpid():
        from chatapi.server_hooks import let_replies_end

        let_replies_end()
