"""Base classes for admin lists of large, read-only tables."""

from typing import Any

from django.contrib import admin
from django.contrib.messages import WARNING
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.functional import cached_property

MOST_COUNTED = 5_000


class CappedPaginator(Paginator):
    """Count at most 5,000 rows, because an exact count reads the whole table."""

    @cached_property
    def count(self) -> int:
        rows: Any = self.object_list
        # In any order: the newest 5,000 of a user would be looked for among the conversations of all.
        return int(rows.order_by()[:MOST_COUNTED].count())


class ListedLookupsAdmin(admin.ModelAdmin):
    """A list whose URL accepts only the conditions of its own filters.

    Other conditions (`…__content__regex=`) would let staff probe text that they may not read, or scan a whole table.
    """

    allowed_lookups: frozenset[str] = frozenset()
    # Django's own titles are such as "Select webhook event to view".
    list_title: str | None = None

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        return lookup in self.allowed_lookups

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        title = {"title": self.list_title} if self.list_title else {}
        response: HttpResponse = super().changelist_view(request, {**title, **(extra_context or {})})
        return response


class ReadOnlyAdmin(ListedLookupsAdmin):
    """History, which staff can view but not change."""

    paginator = CappedPaginator
    show_full_result_count = False
    # Facets count all rows of each filter.
    show_facets = admin.ShowFacets.NEVER

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def redirect_missing(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Redirect to the start page, which then says that the object does not exist."""
        self.message_user(request, f"{self.opts.verbose_name} {object_id} does not exist. Perhaps it was deleted.", WARNING)
        return HttpResponseRedirect(reverse("admin:index"))
