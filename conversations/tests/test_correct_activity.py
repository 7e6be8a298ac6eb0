"""`manage.py correct_activity`."""

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection

from conversations.models import Conversation, Message
from conversations.tests.factories import days_ago, make_old_conversation

pytestmark = pytest.mark.django_db
Manage = Callable[..., Any]


def make_stale(**fields: Any) -> Conversation:
    """Make a conversation of which the predecessor forgot to note yesterday's message."""
    conversation = make_old_conversation(**fields)
    Message.objects.create(conversation=conversation, role="user", content="yesterday", created_at=days_ago(1))
    return conversation


def times() -> dict[Any, Any]:
    return dict(Conversation.objects.values_list("id", "updated_at"))


@pytest.mark.parametrize("batch_size", ["1", "2", "1000"])
def test_the_newest_message_is_the_last_activity(manage_json: Manage, batch_size: str) -> None:
    stale = [make_stale(), make_stale(age_days=400), make_stale(age_days=None)]
    right = [make_old_conversation(age_days=2), make_old_conversation(age_days=None)]
    right.append(make_old_conversation(age_days=0.5, messages=0))
    before = times()
    summary = manage_json("correct_activity", "--batch-size", batch_size)
    assert (summary["corrected"], summary["is_complete"]) == (3, True)
    assert {times()[each.id] for each in stale} == {days_ago(1)}
    assert all(times()[each.id] == before[each.id] for each in right)


def test_repeating_changes_nothing(manage_json: Manage) -> None:
    make_stale()
    manage_json("correct_activity")
    before = times()
    assert manage_json("correct_activity")["corrected"] == 0
    assert times() == before


def test_a_run_out_of_time_goes_on_when_it_is_repeated(manage: Manage, manage_json: Manage) -> None:
    make_stale()
    with pytest.raises(SystemExit) as ended:
        manage("correct_activity", "--max-seconds", "0")
    assert ended.value.code == 3
    assert manage_json("correct_activity")["corrected"] == 1


def test_the_trigger_notes_a_message_of_the_predecessor() -> None:
    conversation = make_old_conversation()
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO messages (conversation_id, role, content) VALUES (%s, 'user', 'live')", [conversation.id])
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("SELECT updated_at = now() FROM conversations WHERE id = %s", [conversation.id])
        assert cursor.fetchone() == (True,)


def test_the_trigger_leaves_old_messages_alone() -> None:
    conversation = make_stale()
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
    assert times()[conversation.id] == days_ago(100)


def test_times_that_cannot_be_are_not_copied(manage: Manage) -> None:
    """The predecessor's columns may hold infinity, which would be the newest for good."""
    conversations = [make_stale() for _ in range(2)]
    with connection.cursor() as cursor:
        for time in ("infinity", "2999-01-01Z", "-infinity"):
            cursor.execute(
                "INSERT INTO messages (conversation_id, role, content, created_at) VALUES (%s, 'user', 'odd', %s::timestamptz)",
                [conversations[0].id, time],
            )
        cursor.execute("UPDATE conversations SET updated_at = 'infinity' WHERE id = %s", [conversations[1].id])
    manage("correct_activity")
    assert {times()[each.id] for each in conversations} == {days_ago(1)}
