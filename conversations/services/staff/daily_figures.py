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

from chatapi.model_prices import Cost
from conversations.expressions import MESSAGE_DAY_SQL
from conversations.models import DailyFigures
from conversations.services.replica_reads import read_for_anyone
from conversations.services.usage.model_totals import PARTS, ModelUsage, cost_of_parts, model_sums_sql

PERIOD_DAYS = 30
# A reply that began before midnight has ended, or is marked as interrupted, an hour later.
SETTLED_AFTER = timedelta(hours=1)
KEPT_SECONDS = 60
COUNTING_BUDGET_S = 0.5

# Both parts read one day of idx_messages_day, without what clients brought. Percentiles ignore nulls.
DAY_SQL = f"""
SELECT count(*) FILTER (WHERE role = 'user'),
       count(*) FILTER (WHERE role = 'assistant'),
       coalesce(sum(token_count) FILTER (WHERE role = 'assistant'), 0),
       count(*) FILTER (WHERE status IN ('failed', 'interrupted')),
       round(percentile_cont(0.5) WITHIN GROUP (ORDER BY first_token_ms)),
       round(percentile_cont(0.95) WITHIN GROUP (ORDER BY first_token_ms)),
       round(percentile_cont(0.5) WITHIN GROUP (ORDER BY inference_time_ms)),
       round(percentile_cont(0.95) WITHIN GROUP (ORDER BY inference_time_ms)),
       (SELECT count(DISTINCT conversations.user_id)
        FROM (SELECT DISTINCT conversation_id FROM messages
              WHERE {MESSAGE_DAY_SQL} = %(day)s AND role = 'user' AND source IS NULL) AS talked
        JOIN conversations ON conversations.id = talked.conversation_id)
FROM messages
WHERE {MESSAGE_DAY_SQL} = %(day)s AND source IS NULL
"""  # noqa: S608  # only constants go into it


MODELS_SQL = f"""
SELECT model_tag, {model_sums_sql()} FROM messages
WHERE {MESSAGE_DAY_SQL} = %(day)s AND source IS NULL AND role = 'assistant' AND model_tag <> '' GROUP BY model_tag
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
    give_up_at = time.monotonic() + budget_s
    for day in wanted:
        # Newest first, and today in any case.
        if day not in known and (day == today or time.monotonic() < give_up_at):
            known[day] = _figures_of(day, now)
    return Period(days=[known[day] for day in reversed(wanted) if day in known], missing=days - len(known))


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


def count_day(day: date) -> DailyFigures:
    """Count one day (UTC). Does not save."""
    with connection.cursor() as cursor:
        cursor.execute(DAY_SQL, {"day": day})
        sent, replies, tokens, failures, *milliseconds, active_users = cursor.fetchone()
        cursor.execute(MODELS_SQL, {"day": day})
        by_model = {model: orjson.loads(parts) if isinstance(parts, str) else parts for model, parts in cursor.fetchall()}
    first_p50, first_p95, inference_p50, inference_p95 = (None if ms is None else int(ms) for ms in milliseconds)
    return DailyFigures(
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
        by_model=by_model,
    )


def _count_day(day: date) -> DailyFigures:
    return read_for_anyone(partial(count_day, day))


def _figures_of(day: date, now: datetime) -> DailyFigures:
    if now >= datetime.combine(day + timedelta(days=1), time_of_day(), UTC) + SETTLED_AFTER:
        figures = _count_day(day)
        # Another worker may have counted the day at the same time, with the same result.
        DailyFigures.objects.bulk_create([figures], ignore_conflicts=True)
        return figures
    key = f"daily-figures:{day.isoformat()}"
    kept = cache.get(key)
    if isinstance(kept, dict):
        return DailyFigures(day=day, **kept)
    figures = _count_day(day)
    cache.set(key, model_to_dict(figures, exclude=["day"]), KEPT_SECONDS)
    return figures
