"""Download of the selected conversations. A selection of several is downloaded after a page that names their users."""

from typing import Any

from django.contrib import admin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse

from conversations.admin.access import note_access_of
from conversations.admin.owners import owners_of
from conversations.models import AccessKind
from conversations.services.staff.export_selection import ExportFormat, export_conversations

CONTENT_TYPES: dict[ExportFormat, str] = {"csv": "text/csv; charset=utf-8", "jsonl": "application/x-ndjson; charset=utf-8"}
MOST_EXPORTED = 5_000
# Larger selections are for the operators' command.
MOST_PARTS = 20


@admin.action(description="Export selected conversations as CSV", permissions=["export"])
def export_as_csv(model_admin: Any, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponseBase:
    return _ask_or_download(model_admin, request, queryset, "csv")


@admin.action(description="Export selected conversations as JSON lines", permissions=["export"])
def export_as_jsonl(model_admin: Any, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponseBase:
    return _ask_or_download(model_admin, request, queryset, "jsonl")


def _ask_or_download(
    model_admin: Any, request: HttpRequest, queryset: QuerySet[Any], export_format: ExportFormat
) -> HttpResponseBase:
    part = _part_of(request)
    first = (part - 1) * MOST_EXPORTED
    selected = list(queryset.values_list("id", "user_id")[first : first + MOST_EXPORTED])
    if len(selected) > 1 and request.POST.get("confirmed") != "yes":
        return _ask(model_admin, request, queryset, [user_id for _, user_id in selected], export_format)
    note_access_of(request, AccessKind.EXPORTED, selected)
    lines = export_conversations(conversation_ids=[row_id for row_id, _ in selected], export_format=export_format)
    response = StreamingHttpResponse(lines, content_type=CONTENT_TYPES[export_format])
    name = "conversations" if part == 1 else f"conversations-{part}"
    response["Content-Disposition"] = f'attachment; filename="{name}.{export_format}"'
    response["Cache-Control"] = "no-store"
    return response


def _part_of(request: HttpRequest) -> int:
    """Return the wanted part of a large selection, from 1. Without one, or with a malformed one, the first."""
    wanted = request.POST.get("part", "")
    return int(wanted) if wanted in [str(part) for part in range(1, MOST_PARTS + 1)] else 1


def _ask(
    model_admin: Any, request: HttpRequest, queryset: QuerySet[Any], user_ids: list[Any], export_format: ExportFormat
) -> HttpResponse:
    """Say whose conversations would be exported and how many of the selection one file holds."""
    most = MOST_EXPORTED * MOST_PARTS
    found = queryset.order_by()[: most + 1].count()
    parts = range(1, -(-min(found, most) // MOST_EXPORTED) + 1)
    context = {
        **model_admin.admin_site.each_context(request),
        "title": f"Export {found:,} conversations?" if found <= most else f"Export more than {most:,} conversations?",
        "opts": model_admin.opts,
        "action": f"export_as_{export_format}",
        "owners": owners_of(user_ids),
        "found": f"{found:,}" if found <= most else f"more than {most:,}",
        "in_first_part": len(user_ids),
        "parts": [(part, (part - 1) * MOST_EXPORTED + 1, min(part * MOST_EXPORTED, found)) for part in parts],
        "is_too_many": found > most,
        "checkbox_name": ACTION_CHECKBOX_NAME,
        "is_all": request.POST.get("select_across") == "1",
        "selected_ids": request.POST.getlist(ACTION_CHECKBOX_NAME),
    }
    return TemplateResponse(request, "admin/conversations/conversation/export.html", context)
