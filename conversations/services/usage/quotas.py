"""How many tokens of replies a user may get per day and month (UTC).

`QUOTA_TOKENS_DAY` and `QUOTA_TOKENS_MONTH` set the limits, and a row of `user_quotas` replaces them for one user. If neither
variable is set, nothing is read. A send reads the user's totals in its own transaction (see `usage`, where the end of a reply
is counted for the time at which the reply began) and is refused if they have reached a limit.

The length of a running reply is not known yet, so it counts when it ends. A user who sends just below the limit can therefore
exceed it by the replies that run at that moment, of which `USER_MAX_GENERATIONS` limits the number.
"""

from dataclasses import asdict, dataclass
from datetime import datetime
from math import ceil
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connection

from conversations.exceptions import Period, QuotaExceeded

# The beginnings of days and months in UTC, whatever the time zone of the database session is.
QUOTA_SQL = """
WITH period AS (
    SELECT date_trunc('day', now() AT TIME ZONE 'UTC') AS day, date_trunc('month', now() AT TIME ZONE 'UTC') AS month
)
SELECT override.tokens_day, override.tokens_month, used.day, used.month,
       (period.day + interval '1 day') AT TIME ZONE 'UTC', (period.month + interval '1 month') AT TIME ZONE 'UTC', now()
FROM period
CROSS JOIN LATERAL (
    SELECT coalesce(sum(tokens) FILTER (WHERE bucket >= period.day AT TIME ZONE 'UTC'), 0)::bigint AS day,
           coalesce(sum(tokens), 0)::bigint AS month
    FROM usage_totals WHERE user_id = %(user_id)s AND bucket >= period.month AT TIME ZONE 'UTC'
) AS used
LEFT JOIN user_quotas AS override ON override.user_id = %(user_id)s
"""


@dataclass(frozen=True, slots=True)
class Allowance:
    """A user's limit for the current day or month, and what is used of it."""

    limit: int
    used: int
    resets_at: datetime


@dataclass(frozen=True, slots=True)
class Quota:
    """Each is None if the user has no such limit."""

    day: Allowance | None
    month: Allowance | None

    def as_json(self) -> dict[str, Any] | None:
        return asdict(self) if self.day or self.month else None


def refuse_over_quota(user_id: UUID | None) -> None:
    """Raise `QuotaExceeded` if a user has used up a quota. Callers without a token have none. One query, or none."""
    if user_id is None or not _are_quotas_set():
        return
    quota, now = _read(user_id)
    # If both are used up, the month's is the one to wait for.
    allowances: list[tuple[Period, Allowance | None]] = [("month", quota.month), ("day", quota.day)]
    for period, allowance in allowances:
        if allowance is not None and allowance.used >= allowance.limit:
            wait_s = ceil((allowance.resets_at - now).total_seconds())
            raise QuotaExceeded(period, resets_at=allowance.resets_at, retry_after_s=max(1, wait_s))


def read_quota(user_id: UUID) -> Quota:
    """Return a user's limits and what is used of them. One query, or none if no quota is set."""
    return _read(user_id)[0] if _are_quotas_set() else Quota(day=None, month=None)


def _are_quotas_set() -> bool:
    return bool(settings.QUOTA_TOKENS_DAY or settings.QUOTA_TOKENS_MONTH)


def _read(user_id: UUID) -> tuple[Quota, datetime]:
    """Return a user's quota, and the time at which the database read it."""
    with connection.cursor() as cursor:
        cursor.execute(QUOTA_SQL, {"user_id": user_id})
        own_day, own_month, used_day, used_month, next_day, next_month, now = cursor.fetchone()
    return Quota(
        day=_allowance(own_day, settings.QUOTA_TOKENS_DAY, used_day, next_day),
        month=_allowance(own_month, settings.QUOTA_TOKENS_MONTH, used_month, next_month),
    ), now


def _allowance(own: int | None, default: int, used: int, resets_at: datetime) -> Allowance | None:
    limit = default if own is None else own
    # A correction of totals may have made them negative.
    return Allowance(limit=limit, used=max(0, used), resets_at=resets_at) if limit > 0 else None
