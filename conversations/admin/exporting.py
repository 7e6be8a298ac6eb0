"""Download of the selected conversations."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, StreamingHttpResponse

from conversations.admin.access import note_access_of
from conversations.admin.lists import MOST_COUNTED
from conversations.models import AccessKind
from conversations.services.staff.export import ExportFormat, export_conversations

CONTENT_TYPES: dict[ExportFormat, str] = {"csv": "text/csv; charset=utf-8", "jsonl": "application/x-ndjson"}


@admin.action(description="Export selected conversations as CSV", permissions=["export"])
def export_as_csv(model_admin: Any, request: HttpRequest, queryset: QuerySet[Any]) -> StreamingHttpResponse:
    return _download(request, queryset, "csv")


@admin.action(description="Export selected conversations as JSON lines", permissions=["export"])
def export_as_jsonl(model_admin: Any, request: HttpRequest, queryset: QuerySet[Any]) -> StreamingHttpResponse:
    return _download(request, queryset, "jsonl")


def _download(request: HttpRequest, queryset: QuerySet[Any], export_format: ExportFormat) -> StreamingHttpResponse:
    # The list counts no further, so "select all 5,000" selects exactly these.
    selected = list(queryset.values_list("id", "user_id")[:MOST_COUNTED])
    note_access_of(request, AccessKind.EXPORTED, selected)
    lines = export_conversations(conversation_ids=[row_id for row_id, _ in selected], export_format=export_format)
    response = StreamingHttpResponse(lines, content_type=CONTENT_TYPES[export_format])
    response["Content-Disposition"] = f'attachment; filename="conversations.{export_format}"'
    response["Cache-Control"] = "no-store"
    return response
