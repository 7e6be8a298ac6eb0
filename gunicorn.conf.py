"""gunicorn's configuration: WEB_CONCURRENCY gevent workers, JSON logs, and hooks that save replies when a worker ends.

The top of this file imports nothing that imports psycopg. If psycopg is imported before gevent has patched `select`, one slow
query blocks every greenlet of the worker.
"""

import gc
import os
import platform
import shutil
import signal
import sys
import tempfile
from typing import Any

from chatapi import __version__
from chatapi.environment import EnvironmentProblem, EnvironmentReader
from chatapi.observability.logs import logging_configuration
from gunicorn_worker.handover import handover
from gunicorn_worker.waiting import database_wait, receive_when_ready
from gunicorn_worker.worker import ServerLog, Worker

_environment = EnvironmentReader(os.environ)
try:
    _port = _environment.whole("PORT", 8002, least=1, most=65535)
    _address = _environment.bind_address("BIND", "0.0.0.0")  # noqa: S104  # a service in a container
    workers = _environment.whole("WEB_CONCURRENCY", 1, least=1, most=1000)
    _metrics_port = _environment.whole_or_none("METRICS_PORT", least=1, most=65535)
    _serves_metrics = _metrics_port is not None or bool(_environment.bearer_token("METRICS_TOKEN"))
    if _metrics_port == _port:
        raise EnvironmentProblem(f"METRICS_PORT must be another port than PORT, not {_port}")
    logconfig_dict = logging_configuration(_environment.log_level("LOG_LEVEL"))
except EnvironmentProblem as problem:
    sys.exit(str(problem))


# Every worker listens on both ports, so that any of them can answer a scrape.
bind = [f"{_address}:{port}" for port in (_port, _metrics_port) if port is not None]
worker_class = Worker
logger_class = ServerLog
worker_connections = 10_000
backlog = 2048
# The longest token has 8,192 characters (`TOKEN_FORM` in chatapi.auth.authentication); the default of 8,190 is for all of it.
limit_request_field_size = 16_384
# Seconds a connection may be idle between two requests. Also the time limit for the headers of a request.
keepalive = 5
graceful_timeout = 30
timeout = 60
# 0: never restart a worker after a number of requests, because a restart would cut its streams.
max_requests = 0
preload_app = False
control_socket_disable = True
# TRUSTED_PROXIES decides which proxies may name the client. gunicorn's default would trust every process on this machine.
forwarded_allow_ips = ""


def on_starting(server: Any) -> None:
    """Log the version. Make the folder of the workers' metrics: new for each master, in memory where there is such a place."""
    server.log.info(f"chat-api {__version__} on Python {platform.python_version()}")
    if _serves_metrics:
        shared_memory = "/dev/shm"  # noqa: S108  # mkdtemp makes a private folder in it
        place = shared_memory if os.access(shared_memory, os.W_OK) else None
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp(prefix="chat-api-metrics-", dir=place)
    else:
        # Without it, metrics are numbers in memory.
        os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)


def on_reload(server: Any) -> None:
    """Let the workers of before go on until a new one is ready."""
    handover.note_reload(server.worker_age)


def child_exit(server: Any, worker: Any) -> None:
    """Remove the gauges of a worker that is gone; its counts stay."""
    if _serves_metrics:
        from prometheus_client.multiprocess import mark_process_dead

        mark_process_dead(worker.pid)


def on_exit(server: Any) -> None:
    """Remove the folder of the metrics."""
    if _serves_metrics:
        shutil.rmtree(os.environ["PROMETHEUS_MULTIPROC_DIR"], ignore_errors=True)


def when_ready(server: Any) -> None:
    """Warn once where several workers share no cache."""
    if workers > 1 and not _environment.text("CACHE_URL"):
        server.log.warning(
            f"CACHE_URL is not set: each of the {workers} workers counts requests on its own, "
            f"so clients can make up to {workers} times as many as the limits allow"
        )


def post_fork(server: Any, worker: Any) -> None:
    """Let the worker be ended from its first moment on, and load the application without looking for garbage."""
    # Until the worker sets its own handlers, it has the master's. They put a signal into a queue that only the master reads.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)
    # Hardly anything that is loaded becomes garbage.
    gc.disable()


def post_worker_init(worker: Any) -> None:
    """Let the service watch its worker, so that it saves running replies before the worker is killed."""
    import psycopg.waiting
    from gevent.threadpool import ThreadPool

    from chatapi.incoming.client_address import connecting_group
    from chatapi.outgoing.name_lookups import share_lookups
    from conversations.server_hooks import adopt_worker
    from conversations.sign_in.password_hashing import hash_passwords_with
    from inference_proxy.upstream.body import receive_with

    # gevent resolves names in ten threads, which one slow name of a driver would fill.
    share_lookups()
    receive_with(receive_when_ready)
    worker.share_connections(connecting_group)
    # One thread: hashing uses one core at most and does not block the event loop.
    hash_passwords_with(ThreadPool(1).apply)
    adopt_worker(
        is_alive=lambda: worker.alive,
        graceful_timeout_s=worker.cfg.graceful_timeout,
        # When a stream ends in the last seconds, its connection would wait for another request until the worker is killed.
        close_idle_connections=worker.close_idle_connections,
    )
    # After `adopt_worker`, which looks at psycopg's own choice.
    psycopg.waiting.wait = database_wait(psycopg.waiting.wait)
    # What is loaded stays until the worker ends, so the collector need not go through it again and again.
    gc.freeze()
    gc.enable()
    handover.note_ready(worker.age)


def pre_request(worker: Any, req: Any) -> None:
    """Let the service close the connection of a request whose body it has not read: WSGI has no way to ask for that."""
    req.body.close_connection = req.force_close


def worker_int(worker: Any) -> None:
    """Save the replies. gunicorn calls this on SIGINT (Ctrl-C) and SIGQUIT, just before the worker quits."""
    from conversations.server_hooks import end_replies_now

    end_replies_now()


def worker_exit(server: Any, worker: Any) -> None:
    """Wait until all replies are saved, even those without a reader. The master also calls this, for workers that are gone."""
    if worker.pid == os.getpid():
        from conversations.server_hooks import let_replies_end

        let_replies_end()
