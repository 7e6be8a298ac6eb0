"""Rows for tests: plain functions, the same every time."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db.models.functions import Now

from conversations.models import Conversation, Message, Role, Status
from conversations.new_ids import new_id

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
NOW = datetime.now(UTC)
USER_ID = uuid.UUID("6d0c1a54-1f0b-4a43-9d0d-0c1d7f5f1a11")


def minutes(count: float) -> timedelta:
    return timedelta(minutes=count)


def make_conversation(user_id: uuid.UUID | None = USER_ID, **fields: Any) -> Conversation:
    """Create a conversation, of 2026-11-20 at noon unless `updated_at` says otherwise."""
    values = {"title": "New conversation", "created_at": NOON, "updated_at": NOON, **fields}
    return Conversation.objects.create(user_id=user_id, **values)


def days_ago(days: float) -> datetime:
    return NOW - timedelta(days=days)


def make_old_conversation(
    *, age_days: float | None = 100, messages: int = 2, last_status: str = Status.COMPLETE, **fields: Any
) -> Conversation:
    """Create a user's conversation of questions and answers; without `age_days`, none of its times are known."""
    at = None if age_days is None else days_ago(age_days)
    owner = fields.pop("user_id", None) or uuid.uuid4()
    conversation = make_conversation(owner, **{"created_at": at, "updated_at": at, **fields})
    Message.objects.bulk_create(
        Message(
            conversation=conversation,
            role=(Role.USER, Role.ASSISTANT)[number % 2],
            content=f"message {number}",
            created_at=at,
            status=last_status if number % 2 and number >= messages - 2 else Status.COMPLETE,
        )
        for number in range(messages)
    )
    return conversation


def make_message(conversation: Conversation, content: str = "a question", **fields: Any) -> Message:
    """Create a user message; each call stands a second behind the last of its conversation."""
    values = {"role": Role.USER, "created_at": _after_the_last(conversation), **fields}
    return Message.objects.create(id=fields.pop("id", None) or new_id(), conversation=conversation, content=content, **values)


def make_reply(asked: Message, content: str = "an answer", **fields: Any) -> Message:
    """Create an answer to a message, complete unless `status` says otherwise."""
    values = {"role": Role.ASSISTANT, "parent": asked, "model_tag": "default", **fields}
    return make_message(asked.conversation, content, **values)


def make_running_reply(asked: Message, content: str = "", *, heartbeat_age_s: float = 0, **fields: Any) -> Message:
    """Create a reply that is being written, by a worker that gave its last sign of life so long ago.

    A conversation of `make_conversation` had its turn now then: a running reply is looked for where a turn was lately.
    """
    Conversation.objects.filter(id=asked.conversation_id, updated_at=NOON).update(updated_at=Now())
    heartbeat_at = datetime.now(UTC) - timedelta(seconds=heartbeat_age_s)
    return make_reply(asked, content, status=Status.STREAMING, heartbeat_at=heartbeat_at, **fields)


def make_turns(conversation: Conversation, count: int) -> list[Message]:
    """Create questions and answers: `question 1`, `answer 1`, `question 2`, …, oldest first."""
    messages: list[Message] = []
    for number in range(1, count + 1):
        asked = make_message(conversation, f"question {number}")
        messages += [asked, make_reply(asked, f"answer {number}")]
    return messages


def _after_the_last(conversation: Conversation) -> datetime:
    last = conversation.messages.newest_first().first()
    begin = conversation.created_at or NOON
    return begin if last is None or last.created_at is None else last.created_at + timedelta(seconds=1)
