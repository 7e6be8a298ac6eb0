"""Every metric of the service, for Prometheus. docs/operating.md describes them.

Principle: a metric costs a request or a reply a few microseconds, and a token nothing. Requests and replies are counted when
they end, and checkpoints once a round. A thread reads the gauges twice a second (see `sampling`). No label holds an id or
anything else that a client chooses.

Under gunicorn each worker writes its values to files of its own, and the worker that answers `/metrics` adds them up (see
`metrics_page`). `multiprocess_mode` says how: `livesum` adds the values of the living workers.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

from chatapi import __version__
from chatapi.service_error import ServiceError

disable_created_metrics()

registry = CollectorRegistry()

METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})
REQUEST_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
FIRST_TOKEN_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 20, 30, 60)
REPLY_BUCKETS = (0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600)
STATEMENT_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
CALL_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
LAG_BUCKETS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)

info = Gauge("chat_api_info", "1, with the version as a label.", ["version"], multiprocess_mode="livemax", registry=registry)
info.labels(__version__).set(1)
requests_answered = Counter(
    "chat_requests",
    "Answered requests, by method, route pattern and class of the status.",
    ["method", "route", "status"],
    registry=registry,
)
request_seconds = Histogram(
    "chat_request_duration_seconds",
    "Time from a request's admission to its answer; for a stream, to its first byte.",
    ["route"],
    buckets=REQUEST_BUCKETS,
    registry=registry,
)
sends = Counter(
    "chat_sends",
    "Sends, edits and regenerations: begun, repeated (an earlier request began the turn), or the code of the refusal.",
    ["outcome"],
    registry=registry,
)
replies = Counter(
    "chat_replies",
    "Replies that ended, by final status, and of failed ones the error code.",
    ["status", "error"],
    registry=registry,
)
replies_not_saved = Counter(
    "chat_replies_not_saved", "Replies whose end could not be saved before the retries ran out.", registry=registry
)
replies_abandoned = Counter(
    "chat_replies_abandoned", "Replies marked as interrupted because their worker died or was cut off.", registry=registry
)
first_token_seconds = Histogram(
    "chat_first_token_seconds",
    "Time from the start of a reply to its first token.",
    buckets=FIRST_TOKEN_BUCKETS,
    registry=registry,
)
reply_seconds = Histogram(
    "chat_reply_duration_seconds", "Time from the start of a reply to its end.", buckets=REPLY_BUCKETS, registry=registry
)
tokens = Counter("chat_tokens", "Tokens of replies (completion) and of what they answer (prompt).", ["kind"], registry=registry)
resumes = Counter(
    "chat_resumes",
    "Followers of a reply that an earlier request began: from the memory of its worker, or from its row.",
    ["source"],
    registry=registry,
)
stop_seconds = Histogram(
    "chat_stop_duration_seconds",
    "Time to stop a running reply, until it is saved.",
    buckets=STATEMENT_BUCKETS,
    registry=registry,
)
checkpoint_seconds = Histogram(
    "chat_checkpoint_duration_seconds",
    "Time to save the running replies of a worker, in one statement.",
    buckets=STATEMENT_BUCKETS,
    registry=registry,
)
checkpoint_rows = Counter("chat_checkpoint_rows", "Replies in checkpoints, those without new text included.", registry=registry)
checkpoint_bytes = Counter("chat_checkpoint_bytes", "Text in checkpoints, in bytes of UTF-8.", registry=registry)
checkpoint_failures = Counter(
    "chat_checkpoint_failures", "Rounds of the keeper that failed, most often because the database was away.", registry=registry
)
auth_cache_lookups = Counter(
    "chat_auth_cache_lookups", "Tokens looked up in the cache, by result: hit or miss.", ["result"], registry=registry
)
service_seconds = Histogram(
    "chat_service_call_duration_seconds",
    "Time of a call to another service: the whole call to auth, or the wait for the headers of inference.",
    ["service"],
    buckets=CALL_BUCKETS,
    registry=registry,
)
service_errors = Counter(
    "chat_service_call_errors",
    "Calls to another service that failed; for inference also replies that broke off. By service and error code.",
    ["service", "error"],
    registry=registry,
)
admission_refusals = Counter(
    "chat_admission_refusals", "Requests refused because they waited too long for admission.", registry=registry
)
loop_lag_seconds = Histogram(
    "chat_event_loop_lag_seconds",
    "How much later than asked a sleeping thread of the worker wakes up, twice a second.",
    buckets=LAG_BUCKETS,
    registry=registry,
)

running_replies = Gauge("chat_running_replies", "Replies being generated.", registry=registry, multiprocess_mode="livesum")
followers = Gauge(
    "chat_followers",
    "Open streams and requests that follow a reply: from the memory of its worker, or from its row.",
    ["source"],
    registry=registry,
    multiprocess_mode="livesum",
)
change_streams = Gauge("chat_change_streams", "Open streams of /api/changes.", registry=registry, multiprocess_mode="livesum")
admission_waiting = Gauge(
    "chat_admission_waiting_requests",
    "Requests that wait for admission, in the queue of sends or of all others.",
    ["queue"],
    registry=registry,
    multiprocess_mode="livesum",
)
pool_in_use = Gauge(
    "chat_database_connections_in_use",
    "Database connections lent by a pool: requests, reply-keeper, reply-ends or replica.",
    ["pool"],
    registry=registry,
    multiprocess_mode="livesum",
)
pool_waiting = Gauge(
    "chat_database_connections_waiting",
    "Threads that wait for a connection of a pool.",
    ["pool"],
    registry=registry,
    multiprocess_mode="livesum",
)
pool_limit = Gauge(
    "chat_database_connections_limit",
    "Most connections of a pool, of all workers together.",
    ["pool"],
    registry=registry,
    multiprocess_mode="livesum",
)
database_reached = Gauge(
    "chat_database_last_reached_timestamp_seconds",
    "When the database last answered (Unix time), at the worker where this is longest ago.",
    registry=registry,
    multiprocess_mode="livemin",
)
replica_lag = Gauge(
    "chat_replica_lag_seconds",
    "How far the replica is behind, at the worker where it is furthest; +Inf while it can't be read, 0 without a replica.",
    registry=registry,
    multiprocess_mode="livemax",
)
last_prune_at = Gauge(
    "chat_api_last_prune_timestamp_seconds",
    "When the last scheduled run of prune_history ended (Unix time), by its criteria; 0 before the first.",
    ["criteria"],
    registry=registry,
    multiprocess_mode="livemax",
)
last_prune_conversations = Gauge(
    "chat_api_last_prune_conversations",
    "Conversations that this run deleted.",
    ["criteria"],
    registry=registry,
    multiprocess_mode="livemax",
)
last_prune_messages = Gauge(
    "chat_api_last_prune_messages",
    "Messages that this run deleted.",
    ["criteria"],
    registry=registry,
    multiprocess_mode="livemax",
)

webhook_deliveries = Counter(
    "chat_webhook_deliveries",
    "Webhooks: delivered, failed (due again later), dead (given up), or dropped (too old or too many).",
    ["outcome"],
    registry=registry,
)
webhook_events = Gauge(
    "chat_webhook_events",
    "Webhooks that wait, or that were given up; at most 10,000 are counted.",
    ["state"],
    registry=registry,
    multiprocess_mode="livemax",
)
webhook_oldest_seconds = Gauge(
    "chat_webhook_oldest_event_seconds",
    "How long the oldest webhook waits; 0 while none does.",
    registry=registry,
    multiprocess_mode="livemax",
)

# Series that exist from the start, so that the first event counts as an increase.
sends_begun = sends.labels("begun")
sends_repeated = sends.labels("repeated")
completion_tokens = tokens.labels("completion")
prompt_tokens = tokens.labels("prompt")
resumes_from_memory = resumes.labels("memory")
resumes_from_row = resumes.labels("row")
auth_cache_hits = auth_cache_lookups.labels("hit")
auth_cache_misses = auth_cache_lookups.labels("miss")
inference_seconds = service_seconds.labels("inference")
for _status in ("complete", "stopped", "interrupted"):
    replies.labels(_status, "")
for _error in ("upstream_error", "upstream_unavailable", "upstream_busy", "upstream_refused", "upstream_timeout"):
    replies.labels("failed", _error)
    service_errors.labels("inference", _error)
service_errors.labels("auth", "auth_unavailable")
for _outcome in ("delivered", "failed", "dead", "dropped"):
    webhook_deliveries.labels(_outcome)
for _state in ("waiting", "dead"):
    webhook_events.labels(_state)
for _gauge in (last_prune_at, last_prune_conversations, last_prune_messages):
    _gauge.labels("expired")

# Unix time; 0 before the first time.
_reached_at = 0.0


def note_database_reached() -> None:
    global _reached_at
    _reached_at = time.time()


def database_reached_at() -> float:
    return _reached_at


def note_last_prune(criteria: str, ended_at: float, conversations: int, messages: int) -> None:
    last_prune_at.labels(criteria).set(ended_at)
    last_prune_conversations.labels(criteria).set(conversations)
    last_prune_messages.labels(criteria).set(messages)


def note_request(method: str | None, route: str, status: int, seconds: float) -> None:
    """Count an answered request. `route` is a pattern of the URL configuration, or "" if none matched."""
    count, durations = _request_series(method if method in METHODS else "other", route or "unmatched", status // 100)
    count.inc()
    durations.observe(seconds)


@cache
def _request_series(method: str | None, route: str, status_class: int) -> tuple[Counter, Histogram]:
    return requests_answered.labels(method, route, f"{status_class}xx"), request_seconds.labels(route)


def note_reply(
    *,
    status: str,
    error_code: str,
    is_services_fault: bool,
    token_count: int,
    prompt_token_count: int | None,
    duration_s: float,
    first_token_s: float | None,
) -> None:
    """Count a reply that has ended."""
    replies.labels(status, error_code).inc()
    if is_services_fault:
        service_errors.labels("inference", error_code).inc()
    completion_tokens.inc(token_count)
    if prompt_token_count:
        prompt_tokens.inc(prompt_token_count)
    reply_seconds.observe(duration_s)
    if first_token_s is not None:
        first_token_seconds.observe(first_token_s)


def note_checkpoint(row_count: int, texts: list[str]) -> None:
    checkpoint_rows.inc(row_count)
    checkpoint_bytes.inc(sum(len(text) if text.isascii() else len(text.encode()) for text in texts))


@contextmanager
def auth_call() -> Iterator[None]:
    """Measure a call to the auth service, and count its failure."""
    with service_seconds.labels("auth").time():
        try:
            yield
        except ServiceError as failure:
            service_errors.labels("auth", failure.code).inc()
            raise
