"""The limits of single users. Staff with the permission set them here; Django's log of changes records who did."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from conversations.admin.lists import CappedPaginator, ListedLookupsAdmin
from conversations.ids import parse_id
from conversations.models import UserQuota


@admin.register(UserQuota)
class UserQuotaAdmin(ListedLookupsAdmin):
    list_display = ("user_id", "tokens_day", "tokens_month")
    ordering = ("user_id",)
    paginator = CappedPaginator
    show_full_result_count = False
    search_fields = ("user_id",)
    search_help_text = "A user's id"

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:
        wanted = search_term.strip().replace("\x00", "")
        return queryset.filter(user_id=parse_id(wanted)) if wanted else queryset, False

    def get_readonly_fields(self, request: HttpRequest, obj: UserQuota | None = None) -> tuple[str, ...]:
        # Another id would make a second quota.
        return () if obj is None else ("user_id",)
