"""The limits of single users. Staff with the permission set them here; Django's log of changes records who did."""

from typing import Any

from django.contrib import admin
from django.db.models import OuterRef, Subquery
from django.http import HttpRequest

from conversations.admin.lists import CappedPaginator, ListedLookupsAdmin
from conversations.admin.search import users_with_address
from conversations.admin.visible import visible
from conversations.ids import parse_id
from conversations.models import ChatUser, UserQuota


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
        found_ids = users_with_address(wanted) if "@" in wanted else [parse_id(wanted)]
        return queryset.filter(user_id__in=found_ids), False

    @admin.display(description="E-mail")
    def email(self, quota: Any) -> str:
        return visible(quota.email or "–")

    def get_queryset(self, request: HttpRequest) -> Any:
        known = ChatUser.objects.filter(id=OuterRef("user_id")).values("email")[:1]
        return super().get_queryset(request).annotate(email=Subquery(known))

    def get_readonly_fields(self, request: HttpRequest, obj: UserQuota | None = None) -> tuple[str, ...]:
        # Another id would make a second quota.
        return () if obj is None else ("user_id",)
