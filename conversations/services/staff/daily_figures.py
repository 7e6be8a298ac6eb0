"""Figures per day for the staff's dashboard.

Principle: a finished day is counted once and stored. Days that may still change are counted again, at most once a minute. On a
large table the first request would have to count a whole month, so each request starts no new count after half a second and
leaves the rest to the next ones.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from datetime import time as time_of_day
from decimal import Decimal
from functools import partial

import orjson
from django.core.cache import cache
from django.db import connection
from django.forms.models import model_to_dict

from conversations.expressions import MESSAGE_DAY_SQL
from conversations.models import DailyFigures
from conversations.services.replica_reads import read_for_anyone
from conversations.services.usage.model_prices import Cost
from conversations.services.usage.model_totals import PARTS, ModelUsage, cost_of_parts, model_sums_sql

PERIOD_DAYS = 30
# A reply that began before midnight has ended, or is marked as interrupted, an hour later.
SETTLED_AFTER = timedelta(hours=1)
KEPT_SECONDS = 60
COUNTING_BUDGET_S = 0.5
COUNTS = ("sent", "replies", "tokens", "active_users", "failures")

# Both parts read these days of idx_messages_day, without what clients brought. Percentiles ignore nulls.
DAYS_SQL = f"""
WITH said AS MATERIALIZED (
    SELECT {MESSAGE_DAY_SQL} AS day, conversation_id, role, status, token_count, first_token_ms, inference_time_ms
    FROM messages WHERE {MESSAGE_DAY_SQL} = ANY(%(days)s::date[]) AND source IS NULL
), active AS (
    SELECT talked.day, count(DISTINCT conversations.user_id) AS users
    FROM (SELECT DISTINCT day, conversation_id FROM said WHERE role = 'user') AS talked
    JOIN conversations ON conversations.id = talked.conversation_id
    GROUP BY talked.day
)
SELECT said.day,
       count(*) FILTER (WHERE role = 'user'),
       count(*) FILTER (WHERE role = 'assistant'),
       coalesce(sum(token_count) FILTER (WHERE role = 'assistant'), 0),
       count(*) FILTER (WHERE status IN ('failed', 'interrupted')),
       round(percentile_cont(0.5) WITHIN GROUP (ORDER BY first_token_ms)),
       round(percentile_cont(0.95) WITHIN GROUP (ORDER BY first_token_ms)),
       round(percentile_cont(0.5) WITHIN GROUP (ORDER BY inference_time_ms)),
       round(percentile_cont(0.95) WITHIN GROUP (ORDER BY inference_time_ms)),
       coalesce(active.users, 0)
FROM said LEFT JOIN active ON active.day = said.day
GROUP BY said.day, active.users
"""  # noqa: S608  # only constants go into it
MODELS_SQL = f"""
SELECT {MESSAGE_DAY_SQL}, model_tag, {model_sums_sql()} FROM messages
WHERE {MESSAGE_DAY_SQL} = ANY(%(days)s::date[]) AND source IS NULL AND role = 'assistant' AND model_tag <> '' GROUP BY 1, 2
"""  # noqa: S608  # only constants go into it


@dataclass(frozen=True, slots=True)
class Period:
    """The figures of some days, oldest first. `missing` is the number of days that are not counted yet."""

    days: list[DailyFigures]
    missing: int


def read_period(*, now: datetime, days: int = PERIOD_DAYS, budget_s: float = COUNTING_BUDGET_S) -> Period:
    """Return the figures of the last days, today included (UTC)."""
    today = now.astimezone(UTC).date()
    wanted = [today - timedelta(days=back) for back in range(days)]
    known = {figures.day: figures for figures in DailyFigures.objects.filter(day__in=wanted)}
    missing = [day for day in wanted if day not in known]
    give_up_at = time.monotonic() + budget_s
    # Newest first, and today in any case. Twice as many days each time, so that thirty take few statements.
    count = 1
    while missing and (count == 1 or time.monotonic() < give_up_at):
        known.update(_figures_of(missing[:count], now))
        del missing[:count]
        count *= 2
    return Period(days=[known[day] for day in reversed(wanted) if day in known], missing=len(missing))


def totals(days: Sequence[DailyFigures]) -> dict[str, int]:
    """Add up the figures that can be added. Percentiles and active users can't."""
    return {name: sum(getattr(day, name) for day in days) for name in ("sent", "replies", "tokens", "failures")}


def costs_by_model(days: Sequence[DailyFigures]) -> tuple[list[Cost], list[ModelUsage]]:
    """Return the cost of each day, and all days together by model, the most tokens first."""
    costs, by_model = [], dict[str | None, ModelUsage]()
    for day in days:
        rest = {"replies": day.replies, "tokens": day.tokens}
        cost_of_day = Cost()
        for model, told in (day.by_model or {}).items():
            parts = dict(zip(PARTS, told, strict=True))
            cost = cost_of_parts(model, day.day, parts)
            by_model.setdefault(model, ModelUsage(model)).add(parts, cost)
            cost_of_day.add(cost)
            rest = {name: count - parts[name] for name, count in rest.items()}
        if any(count > 0 for count in rest.values()):
            unknown = None if rest["tokens"] > 0 else Decimal(0)
            by_model.setdefault(None, ModelUsage(None)).add(rest, unknown)
            cost_of_day.add(unknown)
        costs.append(cost_of_day)
    return costs, sorted(by_model.values(), key=lambda one: (-one.tokens, one.model or ""))


def count_days(days: Sequence[date]) -> dict[date, DailyFigures]:
    """Count some days (UTC). Does not save."""
    counted = {day: DailyFigures(day=day, by_model={}, **dict.fromkeys(COUNTS, 0)) for day in days}
    with connection.cursor() as cursor:
        cursor.execute(DAYS_SQL, {"days": list(days)})
        for day, sent, replies, tokens, failures, *milliseconds, active_users in cursor.fetchall():
            first_p50, first_p95, inference_p50, inference_p95 = (None if ms is None else int(ms) for ms in milliseconds)
            counted[day] = DailyFigures(
                day=day,
                sent=sent,
                replies=replies,
                tokens=tokens,
                active_users=active_users,
                failures=failures,
                first_token_p50_ms=first_p50,
                first_token_p95_ms=first_p95,
                inference_p50_ms=inference_p50,
                inference_p95_ms=inference_p95,
                by_model={},
            )
        cursor.execute(MODELS_SQL, {"days": list(days)})
        for day, model, parts in cursor.fetchall():
            told = orjson.loads(parts) if isinstance(parts, str) else parts
            counted[day].by_model = {**(counted[day].by_model or {}), model: told}
    return counted


def _figures_of(days: Sequence[date], now: datetime) -> dict[date, DailyFigures]:
    """Return the figures of some days, counted within the last minute. Save those of days that are over."""
    over = {day for day in days if now >= datetime.combine(day + timedelta(days=1), time_of_day(), UTC) + SETTLED_AFTER}
    kept = {day: cache.get(_key(day)) for day in days if day not in over}
    known = {day: DailyFigures(day=day, **figures) for day, figures in kept.items() if isinstance(figures, dict)}
    uncounted = [day for day in days if day not in known]
    if not uncounted:
        return known
    counted = read_for_anyone(partial(count_days, uncounted))
    # Another worker may have counted a day at the same time, with the same result.
    DailyFigures.objects.bulk_create([counted[day] for day in uncounted if day in over], ignore_conflicts=True)
    for day in uncounted:
        if day not in over:
            cache.set(_key(day), model_to_dict(counted[day], exclude=["day"]), KEPT_SECONDS)
    return {**known, **counted}


def _key(day: date) -> str:
    return f"daily-figures:{day.isoformat()}"
