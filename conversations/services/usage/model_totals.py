"""Usage by model, and what it cost.

A row of `usage_totals` also has what each model used, under the model's name in `by_model`. The statements that add to the row
do it, while they hold the row, so nothing else is locked. What the row has beyond the sum of its models is of an unknown model:
it was counted before this column existed, by a node of the version before, or its reply still runs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connection

from conversations.services.usage.model_prices import Cost, cost_of, price_of

# What `by_model` has for each model, in this order. `unmeasured` counts replies with tokens whose prompt nobody measured.
PARTS = ("replies", "tokens", "prompt_tokens", "inference_time_ms", "unmeasured")


def add_models_sql(row: str, total: str) -> str:
    """Return the expression of `by_model` when the difference `row` is added to `total`.

    The difference has `model`, and `model_…` for each of PARTS. `add_to_model` of migration 0059 does the same.
    """
    added = _object_sql(
        row, lambda number, part: f"coalesce(({total}.by_model -> {row}.model ->> {number})::bigint, 0) + {row}.model_{part}"
    )
    return f"CASE WHEN {row}.model IS NULL THEN {total}.by_model ELSE coalesce({total}.by_model, '{{}}') || {added} END"


def merge_models_sql(one: str, other: str, combine: str) -> str:
    """Return the expression of two rows' `by_model`, combined part by part with a function such as `greatest`."""
    parts = ", ".join(
        combine.format(f"coalesce((one.value ->> {n})::bigint, 0)", f"coalesce((other.value ->> {n})::bigint, 0)")
        for n in range(len(PARTS))
    )
    return f"""(
    SELECT jsonb_object_agg(key, jsonb_build_array({parts}))
    FROM jsonb_each(coalesce({one}, '{{}}')) AS one FULL JOIN jsonb_each(coalesce({other}, '{{}}')) AS other USING (key)
)"""  # noqa: S608  # only constants go into it


def model_sums_sql() -> str:
    """Return the expression `parts`: what the replies among some rows of `messages` used, as `by_model` has it for a model."""
    return """jsonb_build_array(count(*), coalesce(sum(token_count), 0), coalesce(sum(prompt_tokens), 0),
        coalesce(sum(inference_time_ms), 0), count(*) FILTER (WHERE prompt_tokens IS NULL AND token_count > 0)) AS parts"""


def _object_sql(row: str, part_sql: Any) -> str:
    parts = ", ".join(part_sql(number, part) for number, part in enumerate(PARTS))
    return f"jsonb_build_object({row}.model, jsonb_build_array({parts}))"


# By day of the time zone and, within it, by day of UTC, because prices begin at midnight UTC.
MODELS_SQL = f"""
SELECT width_bucket(bucket, %(midnights)s::timestamptz[]) AS day, (bucket AT TIME ZONE 'UTC')::date AS utc_day, model.key,
       {", ".join(f"sum((model.value ->> {number})::bigint)" for number in range(len(PARTS)))}
FROM usage_totals CROSS JOIN LATERAL jsonb_each(by_model) AS model
WHERE user_id = %(user_id)s AND bucket >= %(begin)s AND bucket < %(end)s
GROUP BY 1, 2, 3
"""  # noqa: S608  # only constants go into it


@dataclass(slots=True)
class ModelUsage:
    """What a user used of one model. `model` is None for what is of an unknown model."""

    model: str | None
    replies: int = 0
    tokens: int = 0
    prompt_tokens: int = 0
    inference_time_ms: int = 0
    cost: Cost = field(default_factory=Cost)

    def add(self, parts: Mapping[str, int], cost: Decimal | None) -> None:
        self.replies += parts.get("replies", 0)
        self.tokens += parts.get("tokens", 0)
        self.prompt_tokens += parts.get("prompt_tokens", 0)
        self.inference_time_ms += parts.get("inference_time_ms", 0)
        self.cost.add(cost)


@dataclass(frozen=True, slots=True)
class Breakdown:
    """Usage by model of a period, the most tokens first, and the cost of each of its days."""

    models: list[ModelUsage]
    day_costs: list[Cost]

    def total_cost(self) -> Cost:
        total = Cost()
        for cost in self.day_costs:
            total.known += cost.known
            total.is_whole = total.is_whole and cost.is_whole
        return total


def break_down(user_id: UUID, days: Sequence[Mapping[str, Any]], values: Mapping[str, Any]) -> Breakdown:
    """Break down what `read_usage` returned for these days. One query."""
    with connection.cursor() as cursor:
        cursor.execute(MODELS_SQL, {**values, "user_id": user_id})
        rows = cursor.fetchall()
    by_model: dict[str | None, ModelUsage] = {}
    rest = [{name: day[name] for name in PARTS[:-1]} for day in days]
    costs = [Cost() for _ in days]
    for number, utc_day, model, *told in rows:
        parts = dict(zip(PARTS, map(int, told), strict=True))
        cost = cost_of_parts(model, utc_day, parts)
        costs[number - 1].add(cost)
        by_model.setdefault(model, ModelUsage(model)).add(parts, cost)
        for name in PARTS[:-1]:
            rest[number - 1][name] -= parts[name]
    for cost_of_day, left in zip(costs, rest, strict=True):
        parts = {name: max(0, count) for name, count in left.items()}
        if any(parts.values()):
            unknown = None if parts["tokens"] or parts["prompt_tokens"] else Decimal(0)
            cost_of_day.add(unknown)
            by_model.setdefault(None, ModelUsage(None)).add(parts, unknown)
    return Breakdown(sorted(by_model.values(), key=lambda one: (-one.tokens, one.model or "")), costs)


def cost_of_parts(model: str | None, day: date, parts: Mapping[str, int]) -> Decimal | None:
    """Return the cost of what a model was used for on a day (UTC), None if it is unknown."""
    tokens, prompt_tokens = parts["tokens"], parts["prompt_tokens"]
    if not tokens and not prompt_tokens:
        # Nothing was used, so a price does not matter.
        return Decimal(0)
    measured = None if parts["unmeasured"] > 0 else prompt_tokens
    return cost_of(price_of(settings.MODEL_PRICES, model, day), tokens=max(0, tokens), prompt_tokens=measured)
