"""Assistants. Staff create and edit them here."""

from django.contrib import admin

from conversations.admin.lists import ListedLookupsAdmin
from conversations.models import Assistant


@admin.register(Assistant)
class AssistantAdmin(ListedLookupsAdmin):
    list_display = ("name", "description", "model_tag", "requires_authentication", "is_active")
    list_filter = ("is_active", "requires_authentication")
    allowed_lookups = frozenset({"is_active__exact", "requires_authentication__exact"})
    search_fields = ("name",)
