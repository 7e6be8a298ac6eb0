"""The webhooks that wait or were given up, and a second chance for the latter."""

from typing import Any

from django.contrib import admin, messages
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html

from conversations.admin.lists import ReadOnlyAdmin
from conversations.ids import parse_id
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
    list_title = "Webhook events"
    list_display = ("kind", "next_attempt", "failure", "attempts", "noted_at", "about", "id")
    list_filter = (StateFilter,)
    allowed_lookups = frozenset({"state"})
    list_per_page = 50
    ordering = ("-created_at",)
    sortable_by = ("noted_at",)
    fields = ("kind", "about", "next_attempt", "failure", "attempts", "noted_at", "id", "data")
    actions = ("deliver_again",)

    @admin.display(description="Next attempt (UTC)")
    def next_attempt(self, event: WebhookEvent) -> str:
        return f"{event.due_at:%Y-%m-%d %H:%M}" if event.due_at else "given up"

    @admin.display(description="Last failure")
    def failure(self, event: WebhookEvent) -> str:
        return event.last_failure or "–"

    @admin.display(description="Noted (UTC)", ordering="created_at")
    def noted_at(self, event: WebhookEvent) -> str:
        return f"{event.created_at:%Y-%m-%d %H:%M}"

    @admin.display(description="About")
    def about(self, event: WebhookEvent) -> str:
        """Link to the conversation or the user, which may be gone by now."""
        data = event.data if isinstance(event.data, dict) else {}
        for kind, name in (("conversation", "conversation"), ("chatuser", "user")):
            if found := parse_id(str(data.get(f"{name}_id"))):
                address = reverse(f"admin:conversations_{kind}_change", args=[found])
                return format_html('{} <a href="{}">{}</a>', name, address, found)
        return "–"

    @admin.action(description="Try again", permissions=["retry"])
    def deliver_again(self, request: HttpRequest, queryset: Any) -> None:
        count = try_again(list(queryset.values_list("id", flat=True)))
        messages.success(request, f"{count} will be delivered again. Those that wait already were left alone.")

    def has_retry_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm("conversations.retry_webhookevent"))
