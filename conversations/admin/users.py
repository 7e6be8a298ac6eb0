"""The directory of users from the auth service, and a page per user with all their conversations."""

from contextlib import suppress
from datetime import UTC, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from django.conf import settings
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Count, Q, Sum
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils import timezone

from conversations.admin.access import NotedListAdmin, note_list_of
from conversations.admin.charts import bar_chart
from conversations.admin.people import ERASE_PERMISSION, EXPORT_PERMISSION, erase_page, export_page
from conversations.admin.replica import from_replica
from conversations.admin.shown_holds import shown_holds
from conversations.admin.summaries import NOTHING_KNOWN, summaries_of
from conversations.admin.visible import visible
from conversations.exceptions import BadCursor
from conversations.ids import parse_id
from conversations.keyset import SortKey, after_key, decode_cursor, encode_cursor
from conversations.models import ChatUser, Conversation, Message, StaffAccess, UsageTotal, UserQuota
from conversations.services.usage.quotas import read_quota
from conversations.services.usage.refused_requests import read_refused
from conversations.services.usage.totals import read_breakdown, read_usage

CONVERSATIONS_SHOWN = 50
CURSOR_KIND = "admin-user"
DAYS_SHOWN = 30
READERS_SHOWN = 20
# Totals stop here, so that a user with 100,000 conversations does not slow the page down.
MOST_CONVERSATIONS_COUNTED = 1_000
MOST_MESSAGES_COUNTED = 10_000
MOST_QUARTERS_ADDED = 20_000


@admin.register(ChatUser)
class ChatUserAdmin(NotedListAdmin):
    list_display = ("address", "shown_name", "id", "is_admin", "first_seen_at", "last_seen_at")
    list_per_page = 50
    ordering = ("-last_seen_at", "-id")
    sortable_by = ("last_seen_at",)
    search_fields = ("email",)
    search_help_text = "The beginning of an e-mail address or a name, or a user's id"

    @admin.display(description="User", ordering="email")
    def address(self, user: ChatUser) -> str:
        return visible(user)

    @admin.display(description="Name")
    def shown_name(self, user: ChatUser) -> str:
        return visible(user.name)

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:
        wanted = search_term.strip().replace("\x00", "")
        if wanted_id := parse_id(wanted):
            return queryset.filter(id=wanted_id), False
        if not wanted:
            return queryset, False
        exact = queryset.filter(email__iexact=wanted)
        if "@" in wanted and exact.exists():
            # As in the search for conversations: a longer address is another person.
            return exact, False
        return queryset.filter(Q(email__istartswith=wanted) | Q(name__istartswith=wanted)), False

    def get_urls(self) -> list[Any]:
        own = (("export", export_page), ("erase", erase_page))
        pages = [
            path(f"<path:object_id>/{name}/", self.admin_site.admin_view(view), name=f"conversations_chatuser_{name}")
            for name, view in own
        ]
        return [*pages, *super().get_urls()]

    def change_view(self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        response: HttpResponse = self._page(request, object_id)
        if response.status_code == 200:
            note_list_of(request, user_id=parse_id(object_id))
        return response

    @from_replica
    def _page(self, request: HttpRequest, object_id: str) -> HttpResponse:
        user_id = parse_id(object_id)
        user = _find_user(user_id) if user_id else None
        if not self.has_view_permission(request, user) or not request.user.has_perm("conversations.view_conversation"):
            raise PermissionDenied
        if user is None:
            return self.redirect_missing(request, object_id)
        before = request.GET.get("before", "")
        context = {
            **self.admin_site.each_context(request),
            **_conversations_page(user.id, before),
            "title": visible(user),
            "opts": self.opts,
            "chat_user": user,
            "totals": _totals(user.id),
            "usage": _usage(user.id),
            **_charts(user.id),
            "refused": _refused(user.id),
            "may_export": request.user.has_perm(EXPORT_PERMISSION),
            "may_erase": request.user.has_perm(ERASE_PERMISSION),
            "readers": _readers(user.id) if request.user.has_perm("conversations.view_staffaccess") else None,
            "holds": shown_holds(request, user_id=user.id),
            "quota": read_quota(user.id),
            "quota_address": _quota_url(request, user.id),
            "is_older_page": bool(before),
        }
        return TemplateResponse(request, "admin/conversations/chatuser/read.html", context)


def _quota_url(request: HttpRequest, user_id: UUID) -> str:
    """Return the URL of the page that changes a user's own limits, or "" for staff who may not."""
    staff: Any = request.user
    if UserQuota.objects.filter(user_id=user_id).exists():
        may, address = "change", reverse("admin:conversations_userquota_change", args=[user_id])
    else:
        may, address = "add", f"{reverse('admin:conversations_userquota_add')}?user_id={user_id}"
    return address if staff.has_perm(f"conversations.{may}_userquota") else ""


def _find_user(user_id: UUID) -> ChatUser | None:
    """Return a user of the directory. The predecessor's users may be known only by their conversations."""
    known = ChatUser.objects.filter(id=user_id).first()
    if known is None and Conversation.objects.owned_by(user_id).exists():
        return ChatUser(id=user_id, email="", name="", first_seen_at=None, last_seen_at=None)
    return known


def _conversations_page(user_id: UUID, before: str) -> dict[str, Any]:
    """Return a page of a user's conversations, newest activity first, and the cursor of the older ones."""
    conversations = Conversation.objects.owned_by(user_id).newest_activity_first()
    if before:
        # A malformed cursor gives the newest page.
        with suppress(BadCursor):
            conversations = conversations.filter(after_key(decode_cursor(before, CURSOR_KIND), "updated_at", descending=True))
    rows: list[Any] = list(conversations[: CONVERSATIONS_SHOWN + 1])
    shown = rows[:CONVERSATIONS_SHOWN]
    summaries = summaries_of([row.pk for row in shown])
    for row in shown:
        row.summary = summaries.get(row.pk, NOTHING_KNOWN)
    older = ""
    if len(rows) > CONVERSATIONS_SHOWN:
        older = encode_cursor(CURSOR_KIND, SortKey(time=shown[-1].updated_at, id=shown[-1].id))
    return {"conversations": shown, "older_cursor": older}


def _charts(user_id: UUID) -> dict[str, Any]:
    """Return charts and models of the last 30 days (UTC), from the totals that deletion does not change."""
    today, zone = timezone.now().astimezone(UTC).date(), ZoneInfo("UTC")
    days = read_usage(user_id=user_id, first=today - timedelta(days=DAYS_SHOWN - 1), last=today, zone=zone)
    dates = [day["date"] for day in days]
    titles = {"messages": "Messages sent", "tokens": "Tokens of replies"}
    return {
        "charts": [bar_chart(title, dates, [max(0, day[name]) for day in days]) for name, title in titles.items()],
        "models": read_breakdown(user_id=user_id, days=days, zone=zone).models,
        "are_prices_set": bool(settings.MODEL_PRICES),
        "days_shown": DAYS_SHOWN,
    }


def _refused(user_id: UUID) -> dict[str, Any]:
    """Return how many of a user's requests were refused in the last 30 days (UTC), with a chart if there are any."""
    today = timezone.now().astimezone(UTC).date()
    days = read_refused(user_id=user_id, first=today - timedelta(days=DAYS_SHOWN - 1), last=today)
    limited, other = sum(day[1] for day in days), sum(day[2] for day in days)
    dates, counts = [day[0] for day in days], [day[1] + day[2] for day in days]
    chart = bar_chart("Refused requests", dates, counts, is_bad=True) if limited or other else None
    return {"limited": limited, "other": other, "chart": chart}


def _readers(user_id: UUID) -> list[StaffAccess]:
    """Return the newest records of what staff did with this user's conversations and page."""
    return list(StaffAccess.objects.filter(user_id=user_id).order_by("-at", "-id")[:READERS_SHOWN])


def _usage(user_id: UUID) -> dict[str, int]:
    """Return what a user sent and what was generated for them, deleted or not, in their newest 20,000 quarters of an hour."""
    newest = UsageTotal.objects.filter(user_id=user_id).order_by("-bucket")[:MOST_QUARTERS_ADDED]
    sums = newest.aggregate(messages=Sum("messages"), replies=Sum("replies"), tokens=Sum("tokens"))
    return {name: int(value or 0) for name, value in sums.items()}


def _totals(user_id: UUID) -> dict[str, Any]:
    """Return a user's totals, of at most 1,000 conversations and 10,000 messages."""
    newest = Conversation.objects.owned_by(user_id).newest_activity_first()
    ids = list(newest.values_list("id", flat=True)[: MOST_CONVERSATIONS_COUNTED + 1])
    said = Message.objects.filter(conversation_id__in=ids[:MOST_CONVERSATIONS_COUNTED], source=None)
    counted = said[:MOST_MESSAGES_COUNTED]
    figures = counted.aggregate(
        messages=Count("id"),
        tokens=Sum("token_count", filter=Q(role="assistant")),
        failures=Count("id", filter=Q(status__in=("failed", "interrupted"))),
        up=Count("id", filter=Q(feedback=1)),
        down=Count("id", filter=Q(feedback=-1)),
    )
    is_partial = len(ids) > MOST_CONVERSATIONS_COUNTED or figures["messages"] >= MOST_MESSAGES_COUNTED
    conversations = f"{MOST_CONVERSATIONS_COUNTED:,}+" if len(ids) > MOST_CONVERSATIONS_COUNTED else f"{len(ids):,}"
    return {**figures, "tokens": figures["tokens"] or 0, "conversations": conversations, "is_partial": is_partial}
