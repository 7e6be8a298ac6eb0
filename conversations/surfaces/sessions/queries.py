"""What the session surface reads: pages of a session's history."""

from datetime import datetime
from uuid import UUID

from django.http import QueryDict

from conversations.models import Message, Role
from conversations.prepared_statements import PreparedStatement, Rows
from conversations.surfaces.paging import Page, read_message_page, select_message_page
from conversations.surfaces.sessions.responses import MessageSchema

HISTORY_CURSOR = "sm"
MOST_MESSAGES = 1000


def read_history(conversation_id: UUID, params: QueryDict) -> Page:
    """Read a page of the active branch, newest first, without system messages. One query."""
    return read_message_page(
        _history, params, kind=HISTORY_CURSOR, default=MOST_MESSAGES, most=MOST_MESSAGES, conversation_id=conversation_id
    )


@PreparedStatement
def _history(conversation_id: UUID, after_time: datetime | None, after_id: UUID | None) -> Rows:
    messages = Message.objects.in_conversation(conversation_id).active_branch().exclude(role=Role.SYSTEM).without_outputs()
    return select_message_page(messages, MessageSchema.columns, after_time, after_id)
