"""The holds that the pages of a conversation and of a user show."""

from typing import Any
from uuid import UUID

from django.http import HttpRequest

from conversations.models.holds import LegalHold
from conversations.services.history.holds import holds_on_conversation, in_force

MOST_SHOWN = 5


def shown_holds(request: HttpRequest, *, user_id: UUID | None, conversation_id: UUID | None = None) -> list[LegalHold]:
    """Return holds in force on a conversation or its user, or on a user, for staff who may see them. One query, or none."""
    staff: Any = request.user
    if not staff.has_perm("conversations.view_legalhold"):
        return []
    if conversation_id is not None:
        return list(holds_on_conversation(conversation_id, user_id)[:MOST_SHOWN])
    return list(in_force().filter(user_id=user_id).order_by("id")[:MOST_SHOWN])
