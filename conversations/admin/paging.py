"""Lists of tables with millions of rows, which nobody edits."""

from typing import Any

from django.contrib import admin
from django.core.paginator import Paginator
from django.http import HttpRequest
from django.utils.functional import cached_property

MOST_COUNTED = 5_000


class CappedPaginator(Paginator):
    """Count no further than staff page: an exact count of a large table reads all of it."""

    @cached_property
    def count(self) -> int:
        return self.object_list[:MOST_COUNTED].count()


class ListedLookupsAdmin(admin.ModelAdmin):
    """A list whose address may hold exactly the conditions that its filters use.

    Any other condition lets staff ask about text that they do not read (`…__content__regex=`), and may read a whole table.
    """

    allowed_lookups: frozenset[str] = frozenset()

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        return lookup in self.allowed_lookups


class ReadOnlyAdmin(ListedLookupsAdmin):
    """History: staff look, they don't rewrite."""

    paginator = CappedPaginator
    show_full_result_count = False
    # A facet counts all of a filter's rows.
    show_facets = admin.ShowFacets.NEVER

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
