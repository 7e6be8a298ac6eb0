"""Retention rules. Superusers write them; Django's log of changes records who did."""

from typing import Any
from uuid import UUID

from django import forms
from django.contrib import admin
from django.db.models import OuterRef, Subquery
from django.http import HttpRequest

from conversations.admin.lists import ListedLookupsAdmin
from conversations.admin.visible import visible
from conversations.ids import parse_id
from conversations.models import Assistant, ChatUser, RetentionRule
from conversations.models.retention import Kept
from conversations.services.staff.references import UnknownUser, find_user

MOST_ASSISTANTS = 500


class RuleForm(forms.ModelForm):
    """A user is typed as staff know them; an assistant is chosen by name."""

    user = forms.CharField(required=False, help_text="Only conversations of this user: an id or an e-mail address.")
    assistant = forms.ChoiceField(required=False, help_text="Only conversations with this assistant.")

    class Meta:
        model = RetentionRule
        fields = ("what", "user", "assistant", "model_tag", "is_anonymous", "days", "includes_favorites")

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        rows = Assistant.objects.order_by("name").values_list("id", "name")[:MOST_ASSISTANTS]
        found = [(str(assistant_id), visible(name)) for assistant_id, name in rows]
        rule = self.instance
        if rule.assistant_id and str(rule.assistant_id) not in dict(found):
            # It was deleted. Conversations with it have no assistant any more.
            found.append((str(rule.assistant_id), f"{rule.assistant_id} (deleted)"))
        field: Any = self.fields["assistant"]
        field.choices = [("", "any or none"), *found]
        self.initial.update({"user": rule.user_id or "", "assistant": str(rule.assistant_id or "")})

    def clean(self) -> dict[str, Any]:
        given: dict[str, Any] = super().clean() or {}
        scope = [name for name in ("user", "assistant", "model_tag", "is_anonymous") if given.get(name)]
        if len(scope) > 1:
            self.add_error(scope[-1], "A rule is about one user, one assistant, one model or anonymous callers.")
        elif scope and given.get("what") != Kept.CONVERSATIONS:
            self.add_error(scope[0], "Only rules about conversations can be more specific.")
        self.instance.assistant_id = given.get("assistant") or None
        self.instance.user_id = self._find_user(given.get("user", "").strip())
        if not self.errors and self._has_twin(given):
            self.add_error(None, "There is such a rule already.")
        return given

    def _find_user(self, reference: str) -> UUID | None:
        found = parse_id(reference)
        if not reference or (found and found == self.instance.user_id):
            return found
        try:
            return find_user(reference)
        except UnknownUser as failure:
            self.add_error("user", str(failure))
            return None

    def _has_twin(self, given: dict[str, Any]) -> bool:
        # Django checks constraints only over fields of the form.
        same = {name: given[name] for name in ("what", "model_tag", "is_anonymous")}
        same |= {"user_id": self.instance.user_id, "assistant_id": self.instance.assistant_id}
        return RetentionRule.objects.filter(**same).exclude(pk=self.instance.pk).exists()


@admin.register(RetentionRule)
class RetentionRuleAdmin(ListedLookupsAdmin):
    form = RuleForm
    list_title = "Retention rules"
    list_display = ("about", "kept", "favorites")
    list_display_links = ("about",)
    ordering = ("what", "id")
    list_per_page = 100

    def get_queryset(self, request: HttpRequest) -> Any:
        email = ChatUser.objects.filter(id=OuterRef("user_id")).values("email")[:1]
        name = Assistant.objects.filter(id=OuterRef("assistant_id")).values("name")[:1]
        return super().get_queryset(request).annotate(email=Subquery(email), assistant_name=Subquery(name))

    @admin.display(description="Rule")
    def about(self, rule: Any) -> str:
        text = rule.subject.replace(str(rule.user_id), rule.email or str(rule.user_id))
        return visible(text.replace(str(rule.assistant_id), rule.assistant_name or str(rule.assistant_id)))

    @admin.display(description="Kept")
    def kept(self, rule: RetentionRule) -> str:
        return "for ever" if rule.days is None else f"{rule.days:,} days"

    @admin.display(description="Favourites")
    def favorites(self, rule: RetentionRule) -> str:
        if rule.what != Kept.CONVERSATIONS or rule.days is None:
            return "–"
        return "deleted, too" if rule.includes_favorites else "kept"
