"""Deletion of conversations, with a confirmation page that counts messages without loading them."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from conversations.admin.access import note_access_of
from conversations.admin.owners import owners_of
from conversations.models import AccessKind, Conversation, Message
from conversations.services.conversations import delete_conversations

MOST_DELETED = 500
MOST_COUNTED_MESSAGES = 100_000
TITLES_SHOWN = 20


@admin.action(description="Delete selected conversations", permissions=["delete"])
def delete_selection(model_admin: Any, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse | None:
    selected = list(queryset.only("id", "user_id", "title")[: MOST_DELETED + 1])
    if len(selected) > MOST_DELETED:
        messages.error(request, f"You can delete at most {MOST_DELETED} conversations at once. Nothing was deleted.")
        return None
    return confirm_or_delete(model_admin, request, selected)


def confirm_or_delete(model_admin: Any, request: HttpRequest, selected: Sequence[Conversation]) -> HttpResponse | None:
    """Return the confirmation page or, if the request confirms, delete and return None. Do not call in a transaction."""
    ids = [conversation.pk for conversation in selected]
    if request.POST.get("confirmed") == "yes":
        held = delete_conversations(conversation_ids=ids)
        deleted = [one for one in selected if one.pk not in held]
        note_access_of(request, AccessKind.DELETED, [(one.pk, one.user_id) for one in deleted])
        if deleted or not held:
            messages.success(request, f"Deleted {len(deleted):,} conversation{'' if len(deleted) == 1 else 's'}.")
        if held:
            messages.warning(request, f"On hold and not deleted: {len(held):,}.")
        return None
    context = {
        **model_admin.admin_site.each_context(request),
        "title": "Delete this conversation?" if len(ids) == 1 else f"Delete {len(ids):,} conversations?",
        "opts": model_admin.opts,
        "selected": selected,
        "shown": selected[:TITLES_SHOWN],
        "not_shown": len(ids[TITLES_SHOWN:]),
        "owners": owners_of(one.user_id for one in selected),
        "message_count": _count_messages(ids),
        "held_count": Conversation.objects.filter(id__in=ids).on_hold().count(),
        "running_count": Message.objects.running().filter(conversation_id__in=ids).count(),
        "is_action": request.method == "POST",
        "checkbox_name": ACTION_CHECKBOX_NAME,
    }
    return TemplateResponse(request, "admin/conversations/conversation/confirm.html", context)


def _count_messages(conversation_ids: Sequence[UUID]) -> str:
    found = (
        Message.objects.filter(conversation_id__in=conversation_ids)
        .values("conversation_id")[: MOST_COUNTED_MESSAGES + 1]
        .count()
    )
    return f"more than {MOST_COUNTED_MESSAGES:,}" if found > MOST_COUNTED_MESSAGES else f"{found:,}"
