"""Conversations to look at, the same in every run."""

from datetime import timedelta
from importlib import import_module
from typing import Any
from uuid import UUID

from django.apps import apps
from django.contrib.auth.models import Group, User

from conversations.models import ChatUser, Conversation, Message
from conversations.tests.factories import NOON, USER_ID, make_conversation

# The example of W3C's Trace Context.
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"  # pragma: allowlist secret


def make_groups() -> None:
    """Make the groups of the migrations again, where a test with real transactions has emptied all tables."""
    import_module("conversations.migrations.0007_admin_groups").make_groups(apps, None)
    import_module("conversations.migrations.0032_feedback_handling").grant(apps, None)
    import_module("conversations.migrations.0037_what_staff_read_for").make_groups(apps, None)
    import_module("conversations.migrations.0053_webhooks").grant(apps, None)
    import_module("conversations.migrations.0054_staff_sign_in").grant(apps, None)
    import_module("conversations.migrations.0056_refused_requests").grant(apps, None)
    import_module("conversations.migrations.0057_legal_holds").grant(apps, None)


def make_staff(name: str, *groups: str, superuser: bool = False, password: str | None = None) -> User:
    """Make a member of staff; without a password, which takes its time to hash, they can only be signed in by a test."""
    make_groups()
    user = User.objects.create_user(name, password=password, is_staff=True, is_superuser=superuser)
    user.groups.set([Group.objects.get(name=group) for group in groups])
    return user


def make_chat_user(user_id: UUID = USER_ID, email: str = "ada@example.com", **fields: Any) -> ChatUser:
    return ChatUser.objects.create(id=user_id, email=email, **fields)


def make_message(conversation: Conversation, role: str, content: str, *, minute: float = 0, **fields: Any) -> Message:
    created_at = NOON + timedelta(minutes=minute)
    return Message.objects.create(conversation=conversation, role=role, content=content, **{"created_at": created_at, **fields})


def make_long_conversation(turns: int, **fields: Any) -> Conversation:
    """Make a conversation of numbered questions and answers, a minute apart."""
    conversation = make_conversation(**fields)
    Message.objects.bulk_create(
        Message(
            conversation=conversation,
            role="assistant" if number % 2 else "user",
            content=f"{'Answer' if number % 2 else 'Question'} number {number // 2}",
            created_at=NOON + timedelta(minutes=number),
        )
        for number in range(2 * turns)
    )
    return conversation
