"""What staff did: read, exported, deleted, signed in. Other pages write it; superusers, leads and auditors read it."""

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any
from uuid import UUID

import orjson
from django.contrib import admin
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.urls import reverse
from django.utils.html import format_html

from conversations.admin.filters import PeriodFilter
from conversations.admin.lists import ReadOnlyAdmin
from conversations.admin.replica import from_replica
from conversations.admin.visible import visible
from conversations.ids import parse_id
from conversations.models import AccessKind, Conversation, StaffAccess
from conversations.models.staff import NO_CONVERSATION
from conversations.services.staff.access import Reader, export_records, note_access, note_list, note_reading
from conversations.services.staff.export_selection import csv_lines
from conversations.staff_reason import reason_of


def reader_of(request: HttpRequest) -> Reader:
    """Return who looks, from where, and what for. Behind a trusted proxy, the address is the client's."""
    staff: Any = request.user
    address = request.META.get("REMOTE_ADDR", "")
    return Reader(staff_id=staff.pk, staff_name=staff.get_username(), address=address, reason=reason_of(request))


def note_access_of(request: HttpRequest, kind: AccessKind, conversations: Iterable[tuple[UUID, UUID | None]]) -> None:
    """Record what the signed-in staff user does with conversations, given as (id, user id)."""
    note_access(reader=reader_of(request), kind=kind, conversations=conversations)


def note_reading_of(request: HttpRequest, conversation: Conversation) -> None:
    """Record that the signed-in staff user reads a conversation, once since they signed in."""
    staff: Any = request.user
    note_reading(
        reader=reader_of(request),
        conversation_id=conversation.pk,
        user_id=conversation.user_id,
        since=staff.last_login,
    )


def note_list_of(request: HttpRequest, *, user_id: UUID | None = None) -> None:
    """Record that the signed-in staff user sees a page with titles or addresses, with what they searched for."""
    search = "" if user_id else request.GET.get("q", "").replace("\x00", "").strip()
    note_list(reader=reader_of(request), user_id=user_id, search=search)


class NotedListAdmin(ReadOnlyAdmin):
    """A list whose readers are recorded. It is read from the replica, if there is one."""

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        response: HttpResponse = self._list(request, extra_context)
        if request.method == "GET" and response.status_code == 200:
            note_list_of(request)
        return response

    @from_replica
    def _list(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        return super().changelist_view(request, extra_context)


EXPORTED_COLUMNS = ("at", "staff_name", "address", "kind", "conversation_id", "user_id", "search", "reason")


@admin.action(description="Export selected records as CSV", permissions=["view"])
def export_access(model_admin: Any, request: HttpRequest, records: Any) -> StreamingHttpResponse:
    """Download records, of at most 100,000 the newest. That is recorded too."""
    lines = chain([csv_lines([EXPORTED_COLUMNS])], (csv_lines(batch) for batch in _exported(request, records)))
    return _download(lines, "text/csv; charset=utf-8", "access.csv")


@admin.action(description="Export selected records as JSON lines", permissions=["view"])
def export_access_as_jsonl(model_admin: Any, request: HttpRequest, records: Any) -> StreamingHttpResponse:
    """The same for programs: one object per line, with the same names."""
    lines = (
        b"".join(orjson.dumps(dict(zip(EXPORTED_COLUMNS, row, strict=True)), option=orjson.OPT_APPEND_NEWLINE) for row in batch)
        for batch in _exported(request, records)
    )
    return _download(lines, "application/x-ndjson", "access.jsonl")


def _exported(request: HttpRequest, records: Any) -> Iterator[list[tuple[Any, ...]]]:
    note_list(reader=reader_of(request), user_id=None, search="access by staff", kind=AccessKind.EXPORTED)
    return export_records(records, EXPORTED_COLUMNS)


def _download(lines: Iterable[bytes], content_type: str, name: str) -> StreamingHttpResponse:
    response = StreamingHttpResponse(lines, content_type=content_type)
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    response["Cache-Control"] = "no-store"
    return response


@admin.register(StaffAccess)
class StaffAccessAdmin(ReadOnlyAdmin):
    list_title = "Access by staff"
    list_display = ("at_utc", "staff_name", "address", "kind", "conversation", "user", "searched", "what_for")
    actions = (export_access, export_access_as_jsonl)
    list_display_links = None
    list_filter = ("kind", ("at", PeriodFilter))
    allowed_lookups = frozenset({"kind__exact", "at__gte", "at__lt", "at__isnull"})
    sortable_by = ()
    ordering = ("-at", "-id")
    search_fields = ("staff_name",)
    search_help_text = "The id of a conversation or a user, or the exact login of a staff user"

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def has_view_permission(self, request: HttpRequest, obj: StaffAccess | None = None) -> bool:
        # In the groups of auditors and leads. An auditor needs no other permission.
        return request.user.has_perm("conversations.view_staffaccess")

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:
        wanted = search_term.strip().replace("\x00", "")
        if wanted_id := parse_id(wanted):
            return queryset.filter(conversation_id=wanted_id) | queryset.filter(user_id=wanted_id), False
        return (queryset.filter(staff_name=wanted) if wanted else queryset), False

    @admin.display(description="At (UTC)")
    def at_utc(self, access: StaffAccess) -> str:
        return f"{access.at:%Y-%m-%d %H:%M:%S}"

    @admin.display(description="Searched for, or what")
    def searched(self, access: StaffAccess) -> str:
        return visible(access.search or "–")

    @admin.display(description="What for")
    def what_for(self, access: StaffAccess) -> str:
        return visible(access.reason or "–")

    @admin.display(description="Conversation")
    def conversation(self, access: StaffAccess) -> str:
        if access.conversation_id == NO_CONVERSATION:
            return "a list" if access.kind == AccessKind.LISTED else "–"
        address = reverse("admin:conversations_conversation_change", args=[access.conversation_id])
        return format_html('<a href="{}">{}</a>', address, access.conversation_id)

    @admin.display(description="User", empty_value="–")
    def user(self, access: StaffAccess) -> str | None:
        if access.user_id is None:
            return None
        address = reverse("admin:conversations_chatuser_change", args=[access.user_id])
        return format_html('<a href="{}">{}</a>', address, access.user_id)
