"""Conversations in the admin: list, filters, search, reading, deletion and export."""

from functools import partial
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.html import format_html

from chatapi.api.rows import is_known_time
from conversations.admin.access import NotedListAdmin, note_reading_of
from conversations.admin.chat import ChatPage, read_chat_page
from conversations.admin.dashboard import dashboard
from conversations.admin.deleting import confirm_or_delete, delete_selection
from conversations.admin.exporting import export_as_csv, export_as_jsonl
from conversations.admin.failures import failures_page
from conversations.admin.feedback import feedback_page
from conversations.admin.filters import (
    ActivityFilter,
    ArchivedFilter,
    FavouriteFilter,
    FeedbackFilter,
    LastReplyFilter,
    ModelFilter,
    TagFilter,
    TrashFilter,
    TroubleFilter,
)
from conversations.admin.finding import find_page
from conversations.admin.replica import read_for
from conversations.admin.search import search_conversations
from conversations.admin.shown_holds import shown_holds
from conversations.admin.summaries import NOTHING_KNOWN, Summary, summaries_of
from conversations.admin.visible import visible
from conversations.ids import parse_id
from conversations.models import Conversation


class ConversationList(ChangeList):
    """A page of the list with a summary of each row."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        rows = list(self.result_list)
        summaries = summaries_of([row.pk for row in rows])
        matching = getattr(request, "matching_messages", {})
        for row in rows:
            row.summary = summaries.get(row.pk, NOTHING_KNOWN)
            row.matching_message = matching.get(row.pk)
            # Django also puts it into the label of the row's checkbox.
            row.title = row.title and visible(row.title)
        self.result_list = rows


def _read_page(request: HttpRequest, conversation_id: UUID) -> tuple[ChatPage, Summary]:
    page = read_chat_page(
        conversation_id=conversation_id,
        before=request.GET.get("before", ""),
        wanted=request.GET.get("message", ""),
        whole=request.GET.get("whole", ""),
    )
    return page, summaries_of([conversation_id]).get(conversation_id, NOTHING_KNOWN)


OWN_FILTERS = (LastReplyFilter, TroubleFilter, FeedbackFilter, ModelFilter, TagFilter, TrashFilter)


@admin.register(Conversation)
class ConversationAdmin(NotedListAdmin):
    list_title = "Conversations"
    list_display = ("titled", "user", "message_count", "last_activity", "last_reply", "model_name", "favourite")
    list_display_links = None
    list_filter = (
        LastReplyFilter,
        TroubleFilter,
        FeedbackFilter,
        ("updated_at", ActivityFilter),
        ("is_favorited", FavouriteFilter),
        ("is_archived", ArchivedFilter),
        TrashFilter,
        TagFilter,
        ModelFilter,
        "assistant",
    )
    allowed_lookups = frozenset(
        {
            *(own.parameter_name for own in OWN_FILTERS),
            *("updated_at__gte", "updated_at__lt", "updated_at__isnull"),
            *("is_favorited__exact", "is_archived__exact", "assistant__id__exact", "assistant__isnull"),
        }
    )
    list_per_page = 50
    # Only this column has an index in its order.
    sortable_by = ("last_activity",)
    ordering = ("-updated_at", "-id")
    search_fields = ("title",)
    search_help_text = "Words in a title or message, an e-mail address, or the id of a conversation, message or user"
    actions = (export_as_csv, export_as_jsonl, delete_selection)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return ConversationList

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:
        found = search_conversations(queryset, search_term)
        request.matching_messages = found.matching_messages  # type: ignore[attr-defined]
        if found.notice:
            messages.info(request, found.notice)
        return found.conversations, False

    def get_urls(self) -> list[Any]:
        own = (("dashboard", dashboard), ("find", find_page), ("feedback", feedback_page), ("failures", failures_page))
        pages = [path(f"{name}/", self.admin_site.admin_view(view), name=f"conversations_{name}") for name, view in own]
        return [*pages, *super().get_urls()]

    # --- the columns of the list

    @admin.display(description="Conversation")
    def titled(self, conversation: Any) -> str:
        address = reverse("admin:conversations_conversation_change", args=[conversation.pk])
        if conversation.matching_message:
            address += f"?message={conversation.matching_message}#message-{conversation.matching_message}"
        return format_html('<a href="{}">{}</a>', address, visible(conversation))

    @admin.display(description="User")
    def user(self, conversation: Any) -> str:
        if conversation.user_id is None:
            return "anonymous"
        address = reverse("admin:conversations_chatuser_change", args=[conversation.user_id])
        return format_html('<a href="{}">{}</a>', address, visible(conversation.summary.email or conversation.user_id))

    @admin.display(description="Messages")
    def message_count(self, conversation: Any) -> str:
        summary: Summary = conversation.summary
        return summary.message_count

    @admin.display(description="Last activity (UTC)", ordering="updated_at")
    def last_activity(self, conversation: Conversation) -> str:
        return f"{conversation.updated_at:%Y-%m-%d %H:%M}" if is_known_time(conversation.updated_at) else "–"

    @admin.display(description="Last reply")
    def last_reply(self, conversation: Any) -> str:
        summary: Summary = conversation.summary
        if not summary.last_status:
            return "–"
        badge = '<span class="badge badge-{}" title="{}">{}</span>'
        last = format_html(badge, summary.last_status, visible(summary.last_error), summary.last_status_label)
        if not summary.earlier_trouble:
            return last
        return format_html('{} <span class="badge badge-failed">{}</span>', last, summary.earlier_trouble)

    @admin.display(description="Model")
    def model_name(self, conversation: Conversation) -> str:
        return visible(conversation.model_tag or "–")

    @admin.display(description="★")
    def favourite(self, conversation: Conversation) -> str:
        # A non-breaking space, because Django shows a dash for an empty string.
        return "★" if conversation.is_favorited else "\xa0"

    # --- reading

    def change_view(self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        conversation: Any = self._find(object_id)
        if not self.has_view_permission(request, conversation):
            raise PermissionDenied
        if conversation is None:
            return self.redirect_missing(request, object_id)
        page, summary = read_for(request, partial(_read_page, request, conversation.pk))
        note_reading_of(request, conversation)
        context = {
            **self.admin_site.each_context(request),
            "title": visible(conversation),
            "opts": self.opts,
            "conversation": conversation,
            "summary": summary,
            "page": page,
            "holds": shown_holds(request, conversation_id=conversation.pk, user_id=conversation.user_id),
            "may_delete": self.has_delete_permission(request, conversation),
            "may_export": self.has_export_permission(request),
        }
        response = TemplateResponse(request, "admin/conversations/conversation/read.html", context)
        response["Cache-Control"] = "no-store"
        return response

    def _find(self, object_id: str) -> Conversation | None:
        found_id = parse_id(object_id)
        return Conversation.objects.select_related("assistant").filter(id=found_id).first() if found_id else None

    def has_export_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("conversations.export_conversation")

    # --- deleting

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("conversations.delete_conversation")

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        actions = super().get_actions(request)
        # Django's own action loads everything that it deletes.
        actions.pop("delete_selected", None)
        return actions

    def delete_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:
        conversation = self._find(object_id)
        if not self.has_delete_permission(request, conversation):
            raise PermissionDenied
        if conversation is None:
            return self.redirect_missing(request, object_id)
        answer = confirm_or_delete(self, request, [conversation])
        return answer or redirect("admin:conversations_conversation_changelist")
