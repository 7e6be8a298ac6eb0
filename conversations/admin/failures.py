"""Failed and interrupted replies, grouped by model and code, each group with a small chart."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from django.contrib import admin
from django.contrib.admin import AdminSite
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from conversations.admin.access import note_list_of
from conversations.admin.replica import read_for
from conversations.services.staff.failures import EXPLANATIONS, UNKNOWN, Group, group_failures, read_failures

PERIODS = {"day": timedelta(days=1), "week": timedelta(days=7), "month": timedelta(days=30)}
PERIOD_NAMES = {"day": "24 hours", "week": "7 days", "month": "30 days"}
AROUND = timedelta(hours=1)
PARTS = 24
MOST_GROUPS = 50
MOST_LISTED = 50
BAR_WIDTH, CHART_HEIGHT = 5, 24


@dataclass(frozen=True, slots=True)
class Row:
    """A group with the bars of its chart as (x, y, height)."""

    group: Group
    explanation: str
    bars: list[tuple[int, int, int]]


def failures_page(request: HttpRequest, site: AdminSite = admin.site) -> HttpResponse:
    """Show the failures of the last day, week or month, or of the two hours around a time, and those of one group."""
    if not request.user.has_perm("conversations.view_conversation"):
        raise PermissionDenied
    asked = {name: request.GET[name].replace("\x00", "") for name in ("model", "code") if name in request.GET}
    period = request.GET.get("period") if request.GET.get("period") in PERIODS else "day"
    around = read_time(request.GET.get("around", ""))
    since, until = (around - AROUND, around + AROUND) if around else (timezone.now() - PERIODS[str(period)], timezone.now())
    failures, is_cut = read_for(request, partial(read_failures, since=since, until=until))
    note_list_of(request)
    groups = group_failures(failures, since=since, until=until, parts=PARTS)
    chosen = [one for one in failures if all(getattr(one, name) == value for name, value in asked.items())]
    context = {
        **site.each_context(request),
        "title": "Failures",
        "periods": PERIOD_NAMES.items(),
        "period": "" if around else period,
        "around": around,
        "since": since,
        "until": until,
        "asked": asked,
        "rows": [_row(group) for group in groups[:MOST_GROUPS]],
        "groups_left_out": len(groups[MOST_GROUPS:]),
        "count": len(failures),
        "is_cut": is_cut,
        "listed": chosen[:MOST_LISTED] if asked or around else [],
        "chosen": len(chosen),
        "chart_width": PARTS * BAR_WIDTH,
        "chart_height": CHART_HEIGHT,
    }
    response = TemplateResponse(request, "admin/conversations/failures.html", context)
    response["Cache-Control"] = "no-store"
    return response


def read_time(text: str) -> datetime | None:
    """Read a time with its zone, as the links of the pages have it. None if it is malformed or too far away."""
    try:
        moment: Any = parse_datetime(text.replace(" ", "+"))
        return moment if moment and moment.tzinfo and 1970 < moment.year < 9000 else None
    except ValueError:
        return None


def _row(group: Group) -> Row:
    most = max(group.counts)
    heights = [-(-CHART_HEIGHT * count // most) for count in group.counts]
    bars = [(part * BAR_WIDTH, CHART_HEIGHT - height, height) for part, height in enumerate(heights) if height]
    return Row(group, EXPLANATIONS.get(group.code, UNKNOWN), bars)
