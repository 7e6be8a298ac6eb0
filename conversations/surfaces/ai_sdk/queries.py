"""What the AI SDK surface reads: chats and pages of their messages."""

from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import Subquery
from django.http import QueryDict

from conversations.exceptions import ConversationNotFound, MessageNotFound
from conversations.known_times import with_message_times
from conversations.models import Conversation, Message, Role, Status
from conversations.prepared_statements import PreparedStatement, Rows
from conversations.surfaces.ai_sdk.responses import MESSAGE_COLUMNS, UIMessageSchema, ui_message
from conversations.surfaces.paging import Page, read_message_page, select_message_page

MESSAGES_CURSOR = "um"
MOST_MESSAGES = 1000


def read_title(conversation_id: UUID) -> str | None:
    """Raises `ConversationNotFound`. One query."""
    found = Conversation.objects.filter(id=conversation_id).values_list("title", flat=True).first()
    if found is None:
        raise ConversationNotFound
    return str(found)


def read_running_reply(conversation_id: UUID) -> UUID | None:
    running: UUID | None = Message.objects.in_conversation(conversation_id).running().values_list("id", flat=True).first()
    return running


def read_ui_message(message_id: UUID) -> UIMessageSchema:
    """Raises `MessageNotFound`. One query."""
    row = Message.objects.filter(id=message_id).values(*MESSAGE_COLUMNS).first()
    if row is None:
        raise MessageNotFound
    return ui_message(with_message_times([row])[0])


def read_chat_page(conversation_id: UUID, params: QueryDict) -> tuple[list[UIMessageSchema], Page]:
    """Return a page of the active branch as UI messages, oldest first, without system messages. One query.

    While a reply is running, its question is the last message: the answers to it are left out, because the SDK adds what it
    resumes to an answer that comes last.
    """
    page = read_message_page(
        _messages, params, kind=MESSAGES_CURSOR, default=MOST_MESSAGES, most=MOST_MESSAGES, conversation_id=conversation_id
    )
    return [ui_message(row) for row in reversed(with_message_times(page.rows)) if not _is_being_answered(row)], page


def _is_being_answered(row: dict[str, Any]) -> bool:
    is_answer = row["role"] == Role.ASSISTANT and row["parent_id"] is not None
    return is_answer and row["parent_id"] == row["question_being_answered"]


@PreparedStatement
def _messages(conversation_id: UUID, after_time: datetime | None, after_id: UUID | None) -> Rows:
    messages = Message.objects.in_conversation(conversation_id)
    # In the same statement, because a reply may end between two.
    running = Message.objects.in_conversation(conversation_id).filter(status=Status.STREAMING)
    active = messages.active_branch().exclude(role=Role.SYSTEM)
    active = active.annotate(question_being_answered=Subquery(running.values("parent_id")[:1]))
    return select_message_page(active, (*MESSAGE_COLUMNS, "question_being_answered"), after_time, after_id)
