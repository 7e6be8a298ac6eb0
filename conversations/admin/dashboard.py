"""The dashboard: figures per day."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from django.conf import settings
from django.contrib import admin
from django.contrib.admin import AdminSite
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone

from conversations.admin.charts import Chart, bar_chart, line_chart
from conversations.admin.feedback import RATINGS
from conversations.admin.replica import read_for
from conversations.models import DailyFigures
from conversations.services.staff.daily_figures import PERIOD_DAYS, Period, costs_by_model, read_period, totals
from conversations.services.staff.feedback import count_open


def dashboard(request: HttpRequest, site: AdminSite = admin.site) -> HttpResponse:
    """Show the last 30 days (UTC)."""
    if not request.user.has_perm("conversations.view_conversation"):
        raise PermissionDenied
    period = read_period(now=timezone.now())
    context: dict[str, Any] = {
        **site.each_context(request),
        "title": "Dashboard",
        "period_days": PERIOD_DAYS,
        "period": period,
        "newest_first": period.days[::-1],
        "today": period.days[-1],
        "totals": totals(period.days),
        "failure_share": _failure_share(period),
        "charts": charts_of(period.days),
        **_models(period),
        "open_feedback": [(name, *read_for(request, partial(count_open, rating=rating))) for name, rating in RATINGS.items()],
    }
    return TemplateResponse(request, "admin/conversations/dashboard.html", context)


def _models(period: Period) -> dict[str, Any]:
    """Return what the table by model and the chart of costs show."""
    day_costs, models = costs_by_model(period.days)
    shown: dict[str, Any] = {"models": models, "are_prices_set": bool(settings.MODEL_PRICES)}
    if settings.MODEL_PRICES:
        cents = [round(100 * cost.known) for cost in day_costs]
        title = f"Known cost, in hundredths{f' of {settings.MODEL_PRICES_CURRENCY}' if settings.MODEL_PRICES_CURRENCY else ''}"
        shown["cost_chart"] = bar_chart(title, [one.day for one in period.days], cents)
    return shown


def charts_of(figures: Sequence[DailyFigures]) -> list[Chart]:
    days = [one.day for one in figures]

    def each(name: str) -> list[Any]:
        return [getattr(one, name) for one in figures]

    first_token = {"median": each("first_token_p50_ms"), "95 %": each("first_token_p95_ms")}
    inference = {"median": each("inference_p50_ms"), "95 %": each("inference_p95_ms")}
    return [
        bar_chart("Messages from users", days, each("sent")),
        bar_chart("Active users", days, each("active_users")),
        bar_chart("Tokens of replies", days, each("tokens")),
        bar_chart("Failed and interrupted replies", days, each("failures"), is_bad=True),
        line_chart("Time to first token", days, first_token, " ms"),
        line_chart("Inference time", days, inference, " ms"),
    ]


def _failure_share(period: Period) -> float:
    sums = totals(period.days)
    return 100 * sums["failures"] / sums["replies"] if sums["replies"] else 0.0
