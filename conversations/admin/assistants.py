"""Assistants, which staff write."""

from django.contrib import admin

from conversations.models import Assistant


@admin.register(Assistant)
class AssistantAdmin(admin.ModelAdmin):
    list_display = ("name", "description", "model_tag", "requires_authentication", "is_active")
    list_filter = ("is_active", "requires_authentication")
    search_fields = ("name",)
