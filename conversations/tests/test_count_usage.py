"""`manage.py count_usage`, and the migration that counts once: usage that only the messages tell of."""

import io
import json
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.core.management import CommandError
from django.db import connection

from conversations.models import Conversation, Message, UsageTotal
from conversations.services.history import usage_recount as usage_history
from conversations.services.history.exports.export import export_history
from conversations.services.history.imports.importing import import_history
from conversations.services.history.usage_recount import count_usage
from conversations.services.sending.begin import send_turn
from conversations.tests.ending import end
from conversations.tests.factories import USER_ID, make_conversation, make_message, make_reply
from inference_proxy.protocols.base import Sampling

pytestmark = pytest.mark.django_db
Manage = Callable[..., Any]
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
COLUMNS = ("bucket", "messages", "replies", "tokens", "prompt_tokens", "inference_time_ms")


def totals(user_id: UUID = USER_ID) -> list[tuple[Any, ...]]:
    return list(UsageTotal.objects.filter(user_id=user_id).order_by("bucket").values_list(*COLUMNS))


def write_old_turn(conversation: Conversation, at: datetime, tokens: int | None = 5) -> None:
    """Write a question and its answer as the predecessor did: without status, parent or prompt tokens."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO messages (conversation_id, role, content, created_at) VALUES (%s, 'user', 'hi', %s)",
            [conversation.id, at],
        )
        cursor.execute(
            "INSERT INTO messages (conversation_id, role, content, token_count, inference_time_ms, created_at)"
            " VALUES (%s, 'assistant', 'hello', %s, 100, %s)",
            [conversation.id, tokens, at + timedelta(seconds=3)],
        )


def test_old_messages_are_counted_once_however_often_it_runs(manage_json: Manage) -> None:
    first, second = make_conversation(), make_conversation()
    write_old_turn(first, NOON)
    write_old_turn(second, NOON + timedelta(minutes=14), tokens=None)
    write_old_turn(first, NOON + timedelta(minutes=15))
    write_old_turn(first, NOON + timedelta(days=40))
    write_old_turn(make_conversation(user_id=None), NOON)
    expected = [
        (NOON, 2, 2, 5, 0, 200),
        (NOON + timedelta(minutes=15), 1, 1, 5, 0, 100),
        (NOON + timedelta(days=40), 1, 1, 5, 0, 100),
    ]
    summary = manage_json("count_usage")
    assert summary == {"days": 2, "changed": 3, "next_day": None, "is_complete": True}
    assert totals() == expected
    assert manage_json("count_usage")["changed"] == 0
    assert totals() == expected
    assert UsageTotal.objects.count() == 3


def test_what_this_service_counted_is_not_counted_again(manage_json: Manage) -> None:
    conversation = make_conversation()
    for _ in range(2):
        turn = send_turn(conversation_id=conversation.id, user_id=USER_ID, content="hi", sampling=Sampling())
        end(turn, token_count=7, prompt_tokens=8, inference_time_ms=9)
    before = totals()
    assert manage_json("count_usage")["changed"] == 0
    # What the predecessor writes beside it is counted by the next run.
    write_old_turn(make_conversation(), before[0][0])
    manage_json("count_usage")
    assert sum(row[1] for row in totals()) == sum(row[1] for row in before) + 1


def test_what_was_deleted_stays_counted(manage_json: Manage) -> None:
    conversation = make_conversation()
    write_old_turn(conversation, NOON)
    manage_json("count_usage")
    before = totals()
    conversation.delete()
    manage_json("count_usage")
    assert totals() == before != []


def test_a_question_that_moved_to_the_end_is_not_counted_where_it_is_now(manage_json: Manage) -> None:
    asked = make_message(make_conversation(), created_at=NOON, idempotency_key="k")
    make_reply(asked, "", status="failed", created_at=NOON)
    make_reply(asked, "an answer", created_at=NOON + timedelta(hours=1))
    UsageTotal.objects.create(user_id=USER_ID, bucket=NOON, messages=1, replies=1)
    UsageTotal.objects.create(user_id=USER_ID, bucket=NOON + timedelta(hours=1), messages=0, replies=1)
    before = totals()
    Message.objects.filter(id=asked.id).update(created_at=NOON + timedelta(hours=1))
    manage_json("count_usage")
    assert totals() == before


def test_times_that_are_none_are_passed_over(manage_json: Manage) -> None:
    conversation = make_conversation()
    with connection.cursor() as cursor:
        for time in ("infinity", "-infinity", "20000-01-01", "0044-03-15 BC", "9999-12-31", "1969-12-31", None):
            cursor.execute(
                "INSERT INTO messages (conversation_id, role, content, created_at)"
                " VALUES (%s, 'user', 'x', %s::text::timestamptz)",
                [conversation.id, time],
            )
    write_old_turn(conversation, NOON)
    assert manage_json("count_usage")["days"] == 1
    assert totals() == [(NOON, 1, 1, 5, 0, 100)]


def test_a_run_out_of_time_goes_on_where_it_ended(manage: Manage, manage_json: Manage) -> None:
    for day in range(3):
        write_old_turn(make_conversation(), NOON + timedelta(days=day))
    result = count_usage(should_stop=iter([False, True, True]).__next__)
    assert (result.days, result.next_day, result.is_complete) == (1, date(2026, 11, 21), False)
    assert manage_json("count_usage", "--since", "2026-11-21")["days"] == 2
    assert len(totals()) == 3
    with pytest.raises(SystemExit) as ended:
        manage("count_usage", "--max-seconds", "0")
    assert ended.value.code == 3


def test_a_failure_in_the_middle_of_a_day_loses_nothing(manage: Manage, manage_json: Manage, monkeypatch: Any) -> None:
    for day in range(2):
        write_old_turn(make_conversation(), NOON + timedelta(days=day))
    whole = usage_history.COUNT_DAY_SQL
    fails_on_second = whole.replace("AND NOT (role", "AND 1 / (%(day)s::date - '2026-11-21'::date) IS NOT NULL AND NOT (role")
    monkeypatch.setattr(usage_history, "COUNT_DAY_SQL", fails_on_second)
    with pytest.raises(CommandError, match="Run the command again"):
        manage("count_usage")
    assert [row[0] for row in totals()] == [NOON]
    monkeypatch.setattr(usage_history, "COUNT_DAY_SQL", whole)
    manage_json("count_usage")
    assert len(totals()) == 2


def test_an_import_adds_no_usage(manage_json: Manage) -> None:
    conversation = make_conversation()
    turn = send_turn(conversation_id=conversation.id, user_id=USER_ID, content="hi", sampling=Sampling())
    end(turn, token_count=7)
    before = totals()
    file = io.BytesIO()
    export_history(target=file)
    conversation.delete()
    file.seek(0)
    assert import_history(source=file).messages.inserted == 2
    assert totals() == before
    # Nor when it is counted anew: they are the same events.
    manage_json("count_usage")
    assert totals() == before


def test_erasing_a_user_removes_their_usage_and_counts_it(manage: Manage) -> None:
    user, other = uuid4(), uuid4()
    for user_id in (user, other):
        for hours in range(3):
            UsageTotal.objects.create(user_id=user_id, bucket=NOON + timedelta(hours=hours), messages=1)
    for option in ("--dry-run", "--yes"):
        assert json.loads(manage("erase_user", str(user), option))["usage_totals"] == 3
    assert (totals(user), len(totals(other))) == ([], 3)


def test_what_a_client_brought_is_not_counted() -> None:
    conversation = make_conversation()
    write_old_turn(conversation, NOON)
    Message.objects.update(source="client")
    write_old_turn(conversation, NOON + timedelta(minutes=15))
    count_usage()
    assert totals() == [(NOON + timedelta(minutes=15), 1, 1, 5, 0, 100)]
