"""What the AI SDK surface reads: chats and pages of their messages."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import Case, Subquery, Value, When
from django.http import QueryDict

from conversations.exceptions import ConversationNotFound, MessageNotFound
from conversations.known_times import with_message_times
from conversations.models import Conversation, Message, Role, Status
from conversations.prepared_statements import PreparedStatement, Rows
from conversations.services.replies.rounds import first_reply_of_run, run_up_to
from conversations.surfaces.ai_sdk.responses import (
    MESSAGE_COLUMNS,
    PartSchema,
    UIMessageSchema,
    is_output,
    merged_message,
    ui_message,
    whole_messages,
)
from conversations.surfaces.paging import Page, cut_page, read_message_page, select_message_page

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
    """Return a reply as a message. One that goes on after calls of tools has the id of that message.

    Raises `MessageNotFound`. Two queries at most.
    """
    row = Message.objects.filter(id=message_id).values(*MESSAGE_COLUMNS, "parent__tool_calls").first()
    if row is None:
        raise MessageNotFound
    found = ui_message(with_message_times([row])[0])
    if row["parent__tool_calls"]:
        found.id = str(first_reply_of_run(message_id))
    return found


def read_chat_page(conversation_id: UUID, params: QueryDict) -> tuple[list[UIMessageSchema], Page]:
    """Return a page of the active branch as UI messages, oldest first, without system messages. One query.

    While a reply is running, its question is the last message. The message that the reply belongs to is left out, because the
    SDK adds what it resumes to an answer that comes last. A page that would begin within a message begins behind it, unless it
    has no other.
    """
    page = read_message_page(
        _messages, params, kind=MESSAGES_CURSOR, default=MOST_MESSAGES, most=MOST_MESSAGES, conversation_id=conversation_id
    )
    page = cut_page(page, _whole_rows(page), kind=MESSAGES_CURSOR, time_field="created_at")
    shown = whole_messages(reversed(with_message_times(page.rows)))
    return [merged_message(rows) for rows in shown if not _are_being_answered(rows)], page


def read_earlier_parts(reply_id: UUID) -> tuple[str, list[PartSchema]] | None:
    """Return the id of the message that a reply goes on in, and its parts before. None if it begins one. Two queries."""
    *earlier, _ = run_up_to(reply_id)
    if not earlier:
        return None
    rows = Message.objects.filter(id__in=earlier).oldest_first().values(*MESSAGE_COLUMNS)
    message = next(whole_messages(rows), None)
    return None if message is None else (str(earlier[0]), merged_message(message).parts)


def _whole_rows(page: Page) -> int:
    """Return the number of rows of a page without those of a message that begins on an older page."""
    if page.next is None:
        return len(page.rows)
    begins = (place for place, row in enumerate(page.rows, 1) if not (is_output(row) or row["answers_output"]))
    return max(begins, default=len(page.rows))


def _are_being_answered(rows: list[Mapping[str, Any]]) -> bool:
    """Whether a message is an answer to the question or the outputs that are being answered now, or has these outputs in it."""
    asked_id = rows[0]["question_being_answered"]
    is_answer = rows[0]["role"] == Role.ASSISTANT
    return is_answer and asked_id is not None and any(asked_id in (row["id"], row["parent_id"]) for row in rows)


@PreparedStatement
def _messages(conversation_id: UUID, after_time: datetime | None, after_id: UUID | None) -> Rows:
    messages = Message.objects.in_conversation(conversation_id)
    # In the same statement, because a reply may end between two.
    running = Message.objects.in_conversation(conversation_id).filter(status=Status.STREAMING)
    active = messages.active_branch().exclude(role=Role.SYSTEM)
    active = active.annotate(
        question_being_answered=Subquery(running.values("parent_id")[:1]),
        answers_output=Case(
            When(role=Role.ASSISTANT, parent__tool_calls__isnull=False, then=Value(True)), default=Value(False)
        ),
    )
    return select_message_page(active, (*MESSAGE_COLUMNS, "question_being_answered", "answers_output"), after_time, after_id)
