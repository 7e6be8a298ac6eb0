"""Replies that failed or were interrupted, for staff: the newest of a period, grouped by model and code.

At most 5,000 of each status are read, from idx_messages_troubled, so the cost does not grow with the tables.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from conversations.models import Message, Status

MOST_READ = 5_000
TROUBLED = (Status.FAILED, Status.INTERRUPTED)
INTERRUPTED = "interrupted"

# What happened, for people who do not know the codes.
EXPLANATIONS = {
    "upstream_error": "The inference service failed while it answered.",
    "upstream_timeout": "The inference service took too long.",
    "upstream_unavailable": "The inference service could not be reached, or said that it is unavailable.",
    "upstream_busy": "The inference service had too many requests.",
    "upstream_refused": "The inference service refuses our service: its key, its account or its rights.",
    "content_refused": "The inference service refused the message because of its content.",
    "context_too_long": "The message alone is too long for the model.",
    "value_refused": "The inference service refused a value of the request, such as max_tokens.",
    "model_gone": "The inference service no longer has the chosen model.",
    "no_answer": "The model ended without an answer.",
    "tool_call_unsupported": "The model called a tool, which this service does not support.",
    "quota_exceeded": "The user's quota was used up when this message, which had waited, had its turn.",
    "not_saved": "The end of the reply could not be saved. The text may be incomplete.",
    INTERRUPTED: "The worker that made the reply was lost or restarted. The text ends at its last checkpoint.",
}
# Replies that did not fail, and that a user may miss the rest of.
STOPPED = "This reply was stopped, usually by its user. The text ends where it was then."
ENDS = {
    "content_filter": "The inference service ended this reply because of its content.",
    "length": "This reply reached the most tokens that it could have, so its text is cut.",
}
UNKNOWN = "The reply failed. The log lines of its trace say more."


@dataclass(frozen=True, slots=True)
class Failure:
    id: UUID
    conversation_id: UUID
    status: str
    error_code: str | None
    model_tag: str | None
    created_at: datetime
    upstream_status: int | None
    upstream_code: str | None

    @property
    def code(self) -> str:
        return code_of(self.status, self.error_code)

    @property
    def model(self) -> str:
        return self.model_tag or ""


@dataclass(frozen=True, slots=True)
class Group:
    """The failures of one model with one code: how many there are in each part of the period, oldest first."""

    model: str
    code: str
    count: int
    newest_at: datetime
    counts: list[int]


def code_of(status: str, error_code: str | None) -> str:
    """Return what failures are grouped by: an interrupted reply has no code of its own."""
    return INTERRUPTED if status == Status.INTERRUPTED else error_code or ""


def explain(status: str, error_code: str | None) -> str:
    """Say what happened to a reply that failed or was interrupted."""
    return EXPLANATIONS.get(code_of(status, error_code), UNKNOWN)


def explain_end(status: str, finish_reason: str | None) -> str:
    """Say why a reply that did not fail has ended early. "" if it has not."""
    return STOPPED if status == Status.STOPPED else ENDS.get(finish_reason or "", "")


def read_failures(*, since: datetime, until: datetime) -> tuple[list[Failure], bool]:
    """Return the failures of a period, newest first, and whether there may be older ones. One query for each status."""
    columns = tuple(Failure.__dataclass_fields__)
    found: list[Failure] = []
    is_cut = False
    for status in TROUBLED:
        troubled = Message.objects.filter(status=status, created_at__gte=since, created_at__lt=until).newest_first()
        rows = [Failure(*row) for row in troubled.values_list(*columns)[:MOST_READ]]
        is_cut = is_cut or len(rows) == MOST_READ
        found += rows
    return sorted(found, key=lambda failure: (failure.created_at, failure.id), reverse=True), is_cut


def group_failures(failures: Iterable[Failure], *, since: datetime, until: datetime, parts: int) -> list[Group]:
    """Group failures by model and code, the most frequent group first."""
    of_group: dict[tuple[str, str], list[Failure]] = {}
    for failure in failures:
        of_group.setdefault((failure.model, failure.code), []).append(failure)
    groups = [
        Group(model, code, len(found), max(one.created_at for one in found), count_parts(found, since, until, parts))
        for (model, code), found in of_group.items()
    ]
    return sorted(groups, key=lambda group: (-group.count, group.model, group.code))


def count_parts(failures: Sequence[Failure], since: datetime, until: datetime, parts: int) -> list[int]:
    """Count failures in equal parts of a period, oldest first."""
    length = max((until - since) / parts, timedelta(microseconds=1))
    counted = Counter(min(int((failure.created_at - since) / length), parts - 1) for failure in failures)
    return [counted[part] for part in range(parts)]
