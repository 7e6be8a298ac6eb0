"""Assistants. Staff create and edit them here."""

from typing import Any

from django import forms
from django.contrib import admin
from django.core.validators import MaxValueValidator, MinValueValidator

from conversations.admin.lists import ListedLookupsAdmin
from conversations.models import SAMPLING_RANGES, Assistant


class AssistantForm(forms.ModelForm):
    """Name the field whose value is out of range. The table's constraint covers three columns and can't say which one."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        for name, (smallest, largest) in SAMPLING_RANGES.items():
            if name in self.fields:
                self.fields[name].validators += [MinValueValidator(smallest), MaxValueValidator(largest)]


@admin.register(Assistant)
class AssistantAdmin(ListedLookupsAdmin):
    form = AssistantForm
    list_display = ("name", "description", "model_tag", "requires_authentication", "is_active")
    list_filter = ("is_active", "requires_authentication")
    allowed_lookups = frozenset({"is_active__exact", "requires_authentication__exact"})
    search_fields = ("name",)
