"""The limits of single users. Staff with the permission set them here; Django's log of changes records who did."""

from typing import Any
from uuid import UUID

import psycopg
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import OperationalError
from django.db.models import OuterRef, Subquery
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import path

from conversations.admin.access import note_list_of, reader_of
from conversations.admin.lists import CappedPaginator, ListedLookupsAdmin
from conversations.admin.replica import read_for
from conversations.admin.search import users_with_email
from conversations.admin.visible import visible
from conversations.ids import parse_id
from conversations.models import AccessKind, ChatUser, UserQuota
from conversations.services.staff.access import note_list
from conversations.services.usage.quotas import NearQuota, are_quotas_set, list_near_quota

MOST_NEAR = 100


def _read_near() -> tuple[list[NearQuota], bool]:
    """Return the users, and whether reading them took too long."""
    try:
        return list_near_quota(limit=MOST_NEAR), False
    except OperationalError as failure:
        if not isinstance(failure.__cause__, psycopg.errors.QueryCanceled):
            raise
        return [], True


def _limits_of(quota: UserQuota) -> dict[str, int | None]:
    return {"day": quota.tokens_day, "month": quota.tokens_month}


@admin.register(UserQuota)
class UserQuotaAdmin(ListedLookupsAdmin):
    list_display = ("user_id", "email", "tokens_day", "tokens_month")
    ordering = ("user_id",)
    paginator = CappedPaginator
    show_full_result_count = False
    search_fields = ("user_id",)
    search_help_text = "A user's id, or an e-mail address or its beginning including the @"

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:
        wanted = search_term.strip().replace("\x00", "")
        if not wanted:
            return queryset, False
        found_ids = users_with_email(wanted) if "@" in wanted else [parse_id(wanted)]
        return queryset.filter(user_id__in=found_ids), False

    def changeform_view(
        self, request: HttpRequest, object_id: str | None = None, form_url: str = "", extra_context: Any = None
    ) -> Any:
        if request.method == "GET" and not are_quotas_set():
            messages.warning(request, "No limit counts here yet: neither QUOTA_TOKENS_DAY nor QUOTA_TOKENS_MONTH is set.")
        return super().changeform_view(request, object_id, form_url, extra_context)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        limits = [f"{name} {'as for all' if limit is None else limit}" for name, limit in _limits_of(obj).items()]
        self._note(request, obj.user_id, f"tokens per {', '.join(limits)}")

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        # Afterwards the object has no id any more.
        user_id = obj.user_id
        super().delete_model(request, obj)
        self._note(request, user_id, "as for all again")

    def delete_queryset(self, request: HttpRequest, queryset: Any) -> None:
        user_ids = list(queryset.values_list("user_id", flat=True))
        super().delete_queryset(request, queryset)
        for user_id in user_ids:
            self._note(request, user_id, "as for all again")

    def _note(self, request: HttpRequest, user_id: UUID, what: str) -> None:
        note_list(reader=reader_of(request), user_id=user_id, search=what, kind=AccessKind.QUOTA)

    def get_urls(self) -> list[Any]:
        return [
            path("near/", self.admin_site.admin_view(self.near_view), name="conversations_near_quota"),
            *super().get_urls(),
        ]

    def near_view(self, request: HttpRequest) -> HttpResponse:
        """List the users who have used most of a quota."""
        if not request.user.has_perm("conversations.view_chatuser"):
            raise PermissionDenied
        users, is_slow = read_for(request, _read_near)
        note_list_of(request)
        context = {
            **self.admin_site.each_context(request),
            "title": "Users near their quota",
            "opts": self.opts,
            "users": users,
            "is_slow": is_slow,
            "are_quotas_set": are_quotas_set(),
            "most": MOST_NEAR,
        }
        return TemplateResponse(request, "admin/conversations/near_quota.html", context)

    @admin.display(description="E-mail")
    def email(self, quota: Any) -> str:
        return visible(quota.email or "–")

    def get_queryset(self, request: HttpRequest) -> Any:
        known = ChatUser.objects.filter(id=OuterRef("user_id")).values("email")[:1]
        return super().get_queryset(request).annotate(email=Subquery(known))

    def get_readonly_fields(self, request: HttpRequest, obj: UserQuota | None = None) -> tuple[str, ...]:
        # Another id would make a second quota.
        return () if obj is None else ("user_id",)
