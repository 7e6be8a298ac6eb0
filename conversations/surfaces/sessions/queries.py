"""What the session surface reads: pages of a session's history."""

from uuid import UUID

from django.http import QueryDict

from conversations.models import Message, Role
from conversations.surfaces.paging import Page, read_message_page
from conversations.surfaces.sessions.responses import MessageSchema

HISTORY_CURSOR = "sm"
MOST_MESSAGES = 1000


def read_history(conversation_id: UUID, params: QueryDict) -> Page:
    """Read a page of the active branch, newest first, without system messages. One query."""
    return read_message_page(
        Message.objects.in_conversation(conversation_id).active_branch().exclude(role=Role.SYSTEM),
        MessageSchema.columns,
        params,
        kind=HISTORY_CURSOR,
        default=MOST_MESSAGES,
        most=MOST_MESSAGES,
    )
