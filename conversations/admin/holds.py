"""Legal holds: staff with the permission place, change and release them here. Each act is recorded."""

from typing import Any, ClassVar
from uuid import UUID

from django import forms
from django.contrib import admin, messages
from django.db import models
from django.db.models import OuterRef, Q, QuerySet, Subquery
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html

from conversations.admin.access import NotedListAdmin, note_access_of
from conversations.admin.search import users_with_email
from conversations.admin.visible import visible
from conversations.ids import parse_id
from conversations.models import AccessKind, ChatUser, Conversation
from conversations.models.holds import LegalHold
from conversations.models.staff import NO_CONVERSATION
from conversations.services.history.holds import change_end, in_force, place_hold, release_hold
from conversations.services.staff.references import UnknownUser, find_user

MOST_RELEASED = 100


class HoldForm(forms.ModelForm):
    """What to hold is typed as staff know it. Only the end of a hold can be changed later."""

    user = forms.CharField(
        required=False, help_text="An id or an e-mail address. All conversations of the user, also later ones."
    )
    conversation = forms.CharField(required=False, help_text="Or the id of one conversation.")

    class Meta:
        model = LegalHold
        fields = ("user", "conversation", "reason", "ends_at")

    def clean(self) -> dict[str, Any]:
        given: dict[str, Any] = super().clean() or {}
        if self.instance.pk is None:
            self._find_subject(given)
        ends_at = given.get("ends_at")
        if ends_at is not None and ends_at <= timezone.now():
            self.add_error("ends_at", "This time is over. A hold ends later, or is released.")
        return given

    def _find_subject(self, given: dict[str, Any]) -> None:
        user, conversation = given.get("user", "").strip(), given.get("conversation", "").strip()
        if bool(user) == bool(conversation):
            self.add_error("user", "Name a user or a conversation, one of the two.")
        elif user:
            try:
                self.instance.user_id = find_user(user)
            except UnknownUser as failure:
                self.add_error("user", str(failure))
        else:
            found = parse_id(conversation)
            if found is None or not Conversation.objects.filter(id=found).exists():
                self.add_error("conversation", "There is no conversation with this id.")
            self.instance.conversation_id = found


class StateFilter(admin.SimpleListFilter):
    """Those in force, unless all are asked for."""

    title = "State"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("ended", "Ended or released"), ("all", "All")]

    def choices(self, changelist: Any) -> Any:
        first, *others = super().choices(changelist)
        yield {**first, "display": "In force"}
        yield from others

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() == "all":
            return queryset
        return queryset.exclude(pk__in=in_force()) if self.value() == "ended" else queryset.filter(pk__in=in_force())


@admin.action(description="Release selected holds", permissions=["change"])
def release_selection(model_admin: "LegalHoldAdmin", request: HttpRequest, queryset: QuerySet[Any]) -> None:
    staff: Any = request.user
    released = [hold for hold in queryset[:MOST_RELEASED] if release_hold(hold_id=hold.pk, released_by=staff.get_username())]
    for hold in released:
        note_hold_of(request, AccessKind.RELEASED, hold)
    messages.success(request, f"Released: {len(released)}. From now on, deletions do not spare what nothing else holds.")


def note_hold_of(request: HttpRequest, kind: AccessKind, hold: LegalHold) -> None:
    note_access_of(request, kind, [(hold.conversation_id or NO_CONVERSATION, hold.user_id)])


class EndInput(forms.DateTimeInput):
    """One field of the browser's own. Django's two have no labels."""

    input_type = "datetime-local"

    def __init__(self) -> None:
        super().__init__(format="%Y-%m-%dT%H:%M")


@admin.register(LegalHold)
class LegalHoldAdmin(NotedListAdmin):
    form = HoldForm
    formfield_overrides: ClassVar = {
        models.DateTimeField: {
            "form_class": forms.DateTimeField,
            "widget": EndInput,
            "help_text": "In UTC. Empty: until it is released.",
        }
    }
    list_title = "Legal holds"
    list_display = ("subject", "reason_shown", "placed_by", "since", "until", "state")
    list_display_links = ("since",)
    list_filter = (StateFilter,)
    allowed_lookups = frozenset({StateFilter.parameter_name})
    sortable_by = ()
    ordering = ("-placed_at", "-id")
    search_fields = ("reason",)
    search_help_text = "An e-mail address, the id of a user or a conversation, or words of the reason"
    actions = (release_selection,)
    list_per_page = 50

    # --- who may

    def has_add_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("conversations.add_legalhold")

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("conversations.change_legalhold") and (obj is None or obj.is_in_force)

    # --- the list

    def get_queryset(self, request: HttpRequest) -> Any:
        known = ChatUser.objects.filter(id=OuterRef("user_id")).values("email")[:1]
        return super().get_queryset(request).annotate(email=Subquery(known))

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:
        wanted = search_term.strip().replace("\x00", "")
        if wanted_id := parse_id(wanted):
            return queryset.filter(Q(user_id=wanted_id) | Q(conversation_id=wanted_id)), False
        if "@" in wanted:
            return queryset.filter(user_id__in=users_with_email(wanted)), False
        return (queryset.filter(reason__icontains=wanted) if wanted else queryset), False

    @admin.display(description="On hold")
    def subject(self, hold: Any) -> str:
        name, found_id, shown = _subject(hold)
        address = reverse(f"admin:conversations_{name}_change", args=[found_id])
        return format_html('{} <a href="{}">{}</a>', "Conversation" if name == "conversation" else "User", address, shown)

    @admin.display(description="Reason")
    def reason_shown(self, hold: LegalHold) -> str:
        return visible(hold.reason)

    @admin.display(description="Since (UTC)")
    def since(self, hold: LegalHold) -> str:
        return f"{hold.placed_at:%Y-%m-%d %H:%M}"

    @admin.display(description="Until (UTC)")
    def until(self, hold: LegalHold) -> str:
        return f"{hold.ends_at:%Y-%m-%d %H:%M}" if hold.ends_at else "no end"

    @admin.display(description="State")
    def state(self, hold: LegalHold) -> str:
        if hold.released_at:
            return f"released by {visible(hold.released_by)}, {hold.released_at:%Y-%m-%d %H:%M}"
        return "in force" if hold.is_in_force else "ended"

    # --- the form

    def get_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        if obj is None:
            return ("user", "conversation", "reason", "ends_at")
        return ("subject", "reason_shown", "placed_by", "since", "ends_at", "state")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return () if obj is None else ("subject", "reason_shown", "placed_by", "since", "state")

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **options: Any) -> Any:
        if obj is not None:
            options["form"] = EndForm
        return super().get_form(request, obj, change, **options)

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        # Other pages link here with the id of a user or a conversation.
        return {name: request.GET.get(name, "").replace("\x00", "") for name in ("user", "conversation")}

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        staff: Any = request.user
        if change:
            change_end(hold_id=obj.pk, ends_at=obj.ends_at)
            note_hold_of(request, AccessKind.HELD, obj)
            return
        placed = place_hold(
            reason=" ".join(obj.reason.split()),
            placed_by=staff.get_username(),
            user_id=obj.user_id,
            conversation_id=obj.conversation_id,
            ends_at=obj.ends_at,
        )
        obj.pk = placed.pk
        note_hold_of(request, AccessKind.HELD, placed)


class EndForm(forms.ModelForm):
    class Meta:
        model = LegalHold
        fields = ("ends_at",)

    def clean_ends_at(self) -> Any:
        ends_at = self.cleaned_data["ends_at"]
        if ends_at is not None and ends_at <= timezone.now():
            raise forms.ValidationError("This time is over. To end a hold now, release it.")
        return ends_at


def _subject(hold: Any) -> tuple[str, UUID, str]:
    if hold.conversation_id:
        return "conversation", hold.conversation_id, str(hold.conversation_id)
    return "chatuser", hold.user_id, visible(getattr(hold, "email", None) or hold.user_id)
