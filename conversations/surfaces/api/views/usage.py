"""/api/usage: the caller's usage per day."""

from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from django.conf import settings
from django.http import QueryDict
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request

from chatapi.api.views import APIView
from chatapi.api.wire import Response
from conversations.services.usage.model_prices import Cost
from conversations.services.usage.model_totals import ModelUsage
from conversations.services.usage.quotas import read_quota
from conversations.services.usage.totals import COUNTS, MOST_DAYS, read_breakdown, read_usage
from conversations.surfaces.api.operations import service as operations
from conversations.surfaces.callers import caller_id
from conversations.surfaces.query_parameters import read_choice, read_whole_number, read_zone
from conversations.surfaces.replica import from_replica

DEFAULT_DAYS = 30
BY = ("day", "model")
# Decimals of a cost. A reply of one token may cost a millionth.
DECIMALS = 6
# Away from the ends of the calendar, so that one more day or a time zone still fits.
FIRST_DATE, LAST_DATE = date(1970, 1, 1), date(9998, 12, 31)


class UsageView(APIView):
    @operations.usage
    @from_replica
    def get(self, request: Request) -> Response:
        zone = read_zone(request.query_params)
        first, last = _read_range(request.query_params, zone)
        user_id = caller_id(request)
        by_model = read_choice(request.query_params, "by", BY) == "model"
        days = read_usage(user_id=user_id, first=first, last=last, zone=zone)
        total: dict[str, Any] = {name: sum(day[name] for day in days) for name in COUNTS}
        report: dict[str, Any] = {"days": days, "total": total, "quota": read_quota(user_id).as_json()}
        report["currency"] = settings.MODEL_PRICES_CURRENCY
        breakdown = None
        if by_model or settings.MODEL_PRICES:
            breakdown = read_breakdown(user_id=user_id, days=days, zone=zone)
        for number, day in enumerate(days):
            day.update(_costs(breakdown.day_costs[number] if breakdown else None))
        total.update(_costs(breakdown.total_cost() if breakdown else None))
        if by_model and breakdown:
            report["models"] = [_model(usage) for usage in breakdown.models]
        return Response(report)


def _costs(cost: Cost | None) -> dict[str, float | None]:
    """Return both fields of a cost. Both are null without prices; `cost` is also null if a part is not known."""
    if cost is None or not settings.MODEL_PRICES:
        return {"cost": None, "known_cost": None}
    known = round(float(cost.known), DECIMALS)
    return {"cost": known if cost.is_whole else None, "known_cost": known}


def _model(usage: ModelUsage) -> dict[str, Any]:
    counts = {name: max(0, getattr(usage, name)) for name in COUNTS if name != "messages"}
    return {"model_tag": usage.model, **counts, **_costs(usage.cost)}


def _read_range(params: QueryDict, zone: ZoneInfo) -> tuple[date, date]:
    """Return the first and the last day: `days` days up to `to`, or `from` to `to`."""
    last = _read_date(params, "to") or datetime.now(zone).date()
    days = read_whole_number(params, "days", DEFAULT_DAYS, least=1, most=MOST_DAYS)
    first = _read_date(params, "from")
    if first is None:
        return max(FIRST_DATE, last - timedelta(days=days - 1)), last
    if "days" in params:
        raise ValidationError({"days": ["Use either days or from, not both."]})
    if not 0 <= (last - first).days < MOST_DAYS:
        raise ValidationError({"from": [f"Must be 0 to {MOST_DAYS - 1} days before the last day."]})
    return first, last


def _read_date(params: QueryDict, name: str) -> date | None:
    value = params.get(name)
    if value is None:
        return None
    try:
        found = datetime.strptime(value, "%Y-%m-%d").date()
    except ValueError:
        found = None
    if found is None or not FIRST_DATE <= found <= LAST_DATE:
        raise ValidationError({name: ["Must be a date such as 2026-11-20."]})
    return found
