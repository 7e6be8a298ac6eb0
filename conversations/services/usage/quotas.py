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
from django.db import connection, transaction

from chatapi.permits.limit import Limit
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


# Users who have used this share of a limit are near it.
NEAR = 0.8
NEAR_TIMEOUT_MS = 2_000
# The beginning of the month is looked up in idx_usage_totals_bucket, so past months cost nothing.
NEAR_QUOTA_SQL = """
WITH period AS (
    SELECT date_trunc('day', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' AS day,
           date_trunc('month', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' AS month
), used AS (
    SELECT user_id, coalesce(sum(tokens) FILTER (WHERE bucket >= (SELECT day FROM period)), 0)::bigint AS day,
           sum(tokens)::bigint AS month
    FROM usage_totals WHERE bucket >= (SELECT month FROM period) GROUP BY user_id
), limited AS (
    SELECT used.*, nullif(coalesce(own.tokens_day, %(tokens_day)s), 0) AS day_limit,
           nullif(coalesce(own.tokens_month, %(tokens_month)s), 0) AS month_limit
    FROM used LEFT JOIN user_quotas AS own USING (user_id)
), near AS (
    SELECT *, greatest(day::float8 / day_limit, month::float8 / month_limit) AS share FROM limited
)
SELECT near.user_id, coalesce(chat_users.email, ''), day, day_limit, month, month_limit, share
FROM near LEFT JOIN chat_users ON chat_users.id = near.user_id
WHERE share >= %(near)s
ORDER BY share DESC, near.user_id
LIMIT %(limit)s
"""


@dataclass(frozen=True, slots=True)
class NearQuota:
    """A user who has used much of a limit. A limit is None if the user has no such limit. `share` is of the fuller one."""

    user_id: UUID
    email: str
    used_day: int
    day_limit: int | None
    used_month: int
    month_limit: int | None
    share: float

    @property
    def percent(self) -> int:
        return int(100 * self.share)


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


Limit(
    what="tokens of replies",
    per="user, per day and month (UTC)",
    refusal=QuotaExceeded,
    settings=("QUOTA_TOKENS_DAY", "QUOTA_TOKENS_MONTH"),
)


def refuse_over_quota(user_id: UUID | None) -> None:
    """Raise `QuotaExceeded` if a user has used up a quota. Callers without a token have none. One query, or none."""
    if user_id is None or not are_quotas_set():
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
    return _read(user_id)[0] if are_quotas_set() else Quota(day=None, month=None)


def list_near_quota(*, limit: int) -> list[NearQuota]:
    """Return the users who have used 80 % of a limit, the fullest first. One query, or none if no quota is set.

    Raises `OperationalError` (query canceled) after two seconds.
    """
    if not are_quotas_set():
        return []
    values = {"tokens_day": settings.QUOTA_TOKENS_DAY or 0, "tokens_month": settings.QUOTA_TOKENS_MONTH or 0}
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT set_config('statement_timeout', %s, true)", [str(NEAR_TIMEOUT_MS)])
        cursor.execute(NEAR_QUOTA_SQL, {**values, "near": NEAR, "limit": limit})
        return [NearQuota(*row) for row in cursor.fetchall()]


def are_quotas_set() -> bool:
    """Return whether the service limits tokens at all."""
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
