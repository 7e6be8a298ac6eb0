"""The inbox of users' ratings."""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin, messages
from django.contrib.admin import AdminSite
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse

from conversations.admin.access import note_list_of
from conversations.admin.replica import read_for
from conversations.exceptions import BadCursor
from conversations.ids import parse_id
from conversations.keyset import SortKey, decode_cursor, encode_cursor
from conversations.models import DEFAULT_MODEL_TAG, Assistant
from conversations.services.sending.model_tags import known_models
from conversations.services.staff.feedback import MOST_READ, Criteria, list_feedback, mark_handled, reopen

SHOWN = 50
CURSOR_KIND = "admin-feedback"
MOST_NOTE_CHARACTERS = 2_000
MOST_ASSISTANTS = 200
RATINGS = {"down": -1, "up": 1}
STATES = {"open": False, "handled": True, "all": None}
FIELDS = ("rating", "state", "model", "assistant", "since", "until", "q")


def feedback_page(request: HttpRequest, site: AdminSite = admin.site) -> HttpResponse:
    """List the rated messages, or mark one as handled."""
    if not request.user.has_perm("conversations.view_conversation"):
        raise PermissionDenied
    if request.method == "POST":
        return _handle(request)
    asked = {name: request.GET.get(name, "").replace("\x00", "").strip() for name in FIELDS}
    read = partial(list_feedback, criteria_of(asked), before=_before(request.GET.get("before", "")), limit=SHOWN + 1)
    rows = read_for(request, read)
    note_list_of(request)
    shown = rows[:SHOWN]
    context = {
        **site.each_context(request),
        "title": "Feedback",
        "rows": shown,
        "asked": {**asked, "state": asked["state"] or "open"},
        "older": _older_url(asked, shown[-1]) if len(rows) > SHOWN else "",
        "models": sorted({*known_models(), DEFAULT_MODEL_TAG, *filter(None, [asked["model"]])}),
        "assistants": Assistant.objects.values_list("id", "name").order_by("name")[:MOST_ASSISTANTS],
        "may_handle": request.user.has_perm("conversations.handle_feedback"),
        "most_read": MOST_READ,
    }
    response = TemplateResponse(request, "admin/conversations/feedback.html", context)
    response["Cache-Control"] = "no-store"
    return response


def criteria_of(asked: Mapping[str, str]) -> Criteria:
    """Read the filters of the query string. What is malformed restricts nothing."""
    return Criteria(
        rating=RATINGS.get(asked["rating"]),
        is_handled=STATES.get(asked["state"], False),
        model_tag=asked["model"],
        assistant_id=parse_id(asked["assistant"]),
        since=_midnight(asked["since"]),
        until=_midnight(asked["until"]),
        words=asked["q"],
    )


def _midnight(day: str) -> datetime | None:
    try:
        return datetime.strptime(day, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        return None


def _before(cursor: str) -> SortKey | None:
    try:
        return decode_cursor(cursor, CURSOR_KIND) if cursor else None
    except BadCursor:
        return None


def _older_url(asked: Mapping[str, str], last: Any) -> str:
    cursor = encode_cursor(CURSOR_KIND, SortKey(time=last.created_at, id=last.id))
    return "?" + urlencode({**{name: value for name, value in asked.items() if value}, "before": cursor})


def _handle(request: HttpRequest) -> HttpResponse:
    if not request.user.has_perm("conversations.handle_feedback"):
        raise PermissionDenied
    staff: Any = request.user
    message_id = parse_id(request.POST.get("message", ""))
    note = request.POST.get("note", "").replace("\x00", "").strip()[:MOST_NOTE_CHARACTERS]
    if message_id is None:
        done = False
    elif request.POST.get("action") == "reopen":
        done = reopen(message_id=message_id)
    else:
        done = mark_handled(message_id=message_id, staff_name=staff.get_username(), note=note)
    if not done:
        messages.error(request, "This message is gone, or its rating was taken back.")
    # The same filters and page. The path begins with a slash, so it can't lead to another site.
    return redirect("/" + request.get_full_path().lstrip("/"))
