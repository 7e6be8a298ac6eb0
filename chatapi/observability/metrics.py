"""Metrics for Prometheus: of requests, connections and calls. What happens to a reply or a webhook is counted beside it.
docs/operating.md describes all of them.

Principle: a metric costs a request a few microseconds. A thread reads the gauges twice a second (see `sampling`). No label
holds an id or anything else that a client chooses.

Under gunicorn each worker writes its values to files of its own, and the worker that answers `/metrics` adds them up (see
`metrics_page`). `multiprocess_mode` says how: `livesum` adds the values of the living workers.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from prometheus_client import (
    GC_COLLECTOR,
    PLATFORM_COLLECTOR,
    PROCESS_COLLECTOR,
    REGISTRY,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
)

from chatapi import __version__
from chatapi.service_error import ServiceError

disable_created_metrics()
# They describe one process, but the page shows all workers.
for _collector in (GC_COLLECTOR, PLATFORM_COLLECTOR, PROCESS_COLLECTOR):
    REGISTRY.unregister(_collector)

METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})
REQUEST_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
STATEMENT_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
CALL_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
LAG_BUCKETS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)

info = Gauge("chat_api_info", "1, with the version as a label.", ["version"], multiprocess_mode="livemax")
info.labels(__version__).set(1)
requests_answered = Counter(
    "chat_requests",
    "Answered requests, by method, route pattern and class of the status.",
    ["method", "route", "status"],
)
request_seconds = Histogram(
    "chat_request_duration_seconds",
    "Time from a request's admission to its answer; for a stream, to its first byte.",
    ["route"],
    buckets=REQUEST_BUCKETS,
)
auth_cache_lookups = Counter("chat_auth_cache_lookups", "Tokens looked up in the cache, by result: hit or miss.", ["result"])
service_seconds = Histogram(
    "chat_service_call_duration_seconds",
    "Time of a call to another service: the whole call to auth, or the wait for the headers of inference.",
    ["service"],
    buckets=CALL_BUCKETS,
)
service_errors = Counter(
    "chat_service_call_errors",
    "Calls to another service that failed; for inference also replies that broke off. By service and error code.",
    ["service", "error"],
)
admission_refusals = Counter("chat_admission_refusals", "Requests refused because they waited too long for admission.")
loop_lag_seconds = Histogram(
    "chat_event_loop_lag_seconds",
    "How much later than asked a sleeping thread of the worker wakes up, twice a second.",
    buckets=LAG_BUCKETS,
)

admission_waiting = Gauge(
    "chat_admission_waiting_requests",
    "Requests that wait for admission, in the queue of sends or of all others.",
    ["queue"],
    multiprocess_mode="livesum",
)
pool_in_use = Gauge(
    "chat_database_connections_in_use",
    "Database connections lent by a pool: requests, reply-keeper, reply-ends or replica.",
    ["pool"],
    multiprocess_mode="livesum",
)
pool_waiting = Gauge(
    "chat_database_connections_waiting",
    "Threads that wait for a connection of a pool.",
    ["pool"],
    multiprocess_mode="livesum",
)
pool_limit = Gauge(
    "chat_database_connections_limit",
    "Most connections of a pool, of all workers together.",
    ["pool"],
    multiprocess_mode="livesum",
)
database_reached = Gauge(
    "chat_database_last_reached_timestamp_seconds",
    "When the database last answered (Unix time), at the worker where this is longest ago.",
    multiprocess_mode="livemin",
)
replica_lag = Gauge(
    "chat_replica_lag_seconds",
    "How far the replica is behind, at the worker where it is furthest; +Inf while it can't be read, 0 without a replica.",
    multiprocess_mode="livemax",
)


# Series that exist from the start, so that the first event counts as an increase.
auth_cache_hits = auth_cache_lookups.labels("hit")
auth_cache_misses = auth_cache_lookups.labels("miss")
service_errors.labels("auth", "auth_unavailable")

# Unix time; 0 before the first time.
_reached_at = 0.0


def note_database_reached() -> None:
    global _reached_at
    _reached_at = time.time()


def database_reached_at() -> float:
    return _reached_at


def note_request(method: str | None, route: str, status: int, seconds: float) -> None:
    """Count an answered request. `route` is a pattern of the URL configuration, or "" if none matched."""
    count, durations = _request_series(method if method in METHODS else "other", route or "unmatched", status // 100)
    count.inc()
    durations.observe(seconds)


@cache
def _request_series(method: str | None, route: str, status_class: int) -> tuple[Counter, Histogram]:
    return requests_answered.labels(method, route, f"{status_class}xx"), request_seconds.labels(route)


@contextmanager
def auth_call() -> Iterator[None]:
    """Measure a call to the auth service, and count its failure."""
    with service_seconds.labels("auth").time():
        try:
            yield
        except ServiceError as failure:
            service_errors.labels("auth", failure.code).inc()
            raise
