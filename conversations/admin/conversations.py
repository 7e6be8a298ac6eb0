"""Conversations in the admin: found by title, user or e-mail, and read as the chat that they are."""

from typing import Any

from django.contrib import admin
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse

from conversations.admin.paging import CappedPaginator
from conversations.admin.search import search_conversations
from conversations.exceptions import BadCursor
from conversations.keyset import SortKey, after_key, decode_cursor, encode_cursor
from conversations.models import ChatUser, Conversation, Message

MESSAGES_SHOWN = 50
CURSOR_KIND = "admin"


@admin.register(Conversation)
class ConversationAdmin(admin.ModelAdmin):
    """History is read-only: staff look, they don't rewrite."""

    list_display = ("__str__", "user_email", "user_id", "model_tag", "is_favorited", "updated_at")
    list_display_links = ("__str__",)
    list_filter = ("is_favorited",)
    list_per_page = 50
    ordering = ("-updated_at", "-id")
    search_fields = ("title",)
    search_help_text = "A title, an e-mail address, or the id of a conversation or user"
    show_full_result_count = False
    paginator = CappedPaginator
    change_form_template = "admin/conversations/conversation/read.html"

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Conversation | None = None) -> bool:
        return False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Conversation]:
        email = ChatUser.objects.filter(id=OuterRef("user_id")).values("email")[:1]
        return super().get_queryset(request).annotate(email=Subquery(email))

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:
        return search_conversations(queryset, search_term), False

    @admin.display(description="User")
    def user_email(self, conversation: Any) -> str:
        return conversation.email or "–"

    def changeform_view(
        self, request: HttpRequest, object_id: str | None = None, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        context = {**(extra_context or {}), **_messages_context(object_id, request.GET.get("before", ""))}
        return super().changeform_view(request, object_id, form_url, context)


def _messages_context(conversation_id: str | None, before: str) -> dict[str, Any]:
    """Return a page of a conversation's messages, oldest first, and the cursor of the older ones."""
    messages = Message.objects.filter(conversation_id=conversation_id)
    if before:
        try:
            messages = messages.filter(after_key(decode_cursor(before, CURSOR_KIND), "created_at", descending=True))
        except BadCursor:
            # A mistyped address shows the newest page.
            before = ""
    newest = list(messages.newest_first()[: MESSAGES_SHOWN + 1])
    shown = newest[:MESSAGES_SHOWN]
    older = ""
    if len(newest) > MESSAGES_SHOWN:
        older = encode_cursor(CURSOR_KIND, SortKey(time=shown[-1].created_at, id=shown[-1].id))
    return {"chat_messages": shown[::-1], "older_cursor": older, "is_older_page": bool(before)}
