"""The webhooks that wait or were given up, and a second chance for the latter."""

from typing import Any

from django.contrib import admin, messages
from django.http import HttpRequest

from conversations.admin.lists import ReadOnlyAdmin
from conversations.models import WebhookEvent
from conversations.services.webhooks.outbox import try_again


class StateFilter(admin.SimpleListFilter):
    """Events that wait, or that were given up."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("waiting", "Waiting"), ("dead", "Given up")]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        wanted = {"waiting": False, "dead": True}.get(self.value() or "")
        return queryset if wanted is None else queryset.filter(due_at__isnull=wanted)


@admin.register(WebhookEvent)
class WebhookEventAdmin(ReadOnlyAdmin):
    list_display = ("kind", "id", "created_at", "attempts", "next_attempt", "last_failure")
    list_filter = (StateFilter,)
    allowed_lookups = frozenset({"state"})
    list_per_page = 50
    ordering = ("-created_at",)
    sortable_by = ("created_at",)
    fields = ("kind", "id", "data", "created_at", "attempts", "next_attempt", "last_failure")
    actions = ("deliver_again",)

    @admin.display(description="Next attempt", empty_value="given up")
    def next_attempt(self, event: WebhookEvent) -> Any:
        return event.due_at

    @admin.action(description="Try again", permissions=["retry"])
    def deliver_again(self, request: HttpRequest, queryset: Any) -> None:
        count = try_again(list(queryset.values_list("id", flat=True)))
        messages.success(request, f"{count} will be delivered again. Those that wait already were left alone.")

    def has_retry_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm("conversations.retry_webhookevent"))
