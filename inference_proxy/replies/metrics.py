"""What is counted of replies. They count when they end, and checkpoints once a round, so a token costs nothing."""

from prometheus_client import Counter, Histogram

from chatapi.observability.metrics import STATEMENT_BUCKETS, service_errors, service_seconds

FIRST_TOKEN_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 20, 30, 60)
REPLY_BUCKETS = (0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600)

replies = Counter(
    "chat_replies",
    "Replies that ended, by final status, and of failed ones the error code.",
    ["status", "error"],
)
replies_not_saved = Counter("chat_replies_not_saved", "Replies whose end could not be saved before the retries ran out.")
replies_abandoned = Counter("chat_replies_abandoned", "Replies marked as interrupted because their worker died or was cut off.")
first_token_seconds = Histogram(
    "chat_first_token_seconds",
    "Time from the start of a reply to its first token.",
    buckets=FIRST_TOKEN_BUCKETS,
)
reply_seconds = Histogram("chat_reply_duration_seconds", "Time from the start of a reply to its end.", buckets=REPLY_BUCKETS)
tokens = Counter("chat_tokens", "Tokens of replies (completion) and of what they answer (prompt).", ["kind"])
checkpoint_seconds = Histogram(
    "chat_checkpoint_duration_seconds",
    "Time to save the running replies of a worker, in one statement.",
    buckets=STATEMENT_BUCKETS,
)
checkpoint_rows = Counter("chat_checkpoint_rows", "Replies in checkpoints, those without new text included.")
checkpoint_bytes = Counter("chat_checkpoint_bytes", "Text in checkpoints, in bytes of UTF-8.")
checkpoint_failures = Counter(
    "chat_checkpoint_failures", "Rounds of the keeper that failed, most often because the database was away."
)

# Series that exist from the start, so that the first event counts as an increase.
completion_tokens = tokens.labels("completion")
prompt_tokens = tokens.labels("prompt")
inference_seconds = service_seconds.labels("inference")
for _status in ("complete", "stopped", "interrupted"):
    replies.labels(_status, "")
for _error in ("upstream_error", "upstream_unavailable", "upstream_busy", "upstream_refused", "upstream_timeout"):
    replies.labels("failed", _error)
    service_errors.labels("inference", _error)


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
