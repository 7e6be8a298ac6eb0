"""Usage is counted when a turn and its result are saved, exactly once, and what is deleted later stays counted."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import psycopg
import pytest
from django.db import connection, transaction
from django.db.models.functions import Now

from chatapi.database.connections import run_on_own_connection
from conversations.exceptions import GenerationInProgress
from conversations.models import Conversation, Message, UsageTotal
from conversations.services.conversations import delete_conversation
from conversations.services.history.pruning.prune import PruneCriteria, prune_history
from conversations.services.sending.begin import edit_turn, regenerate_turn, send_turn
from conversations.services.sending.turn import Turn
from conversations.services.usage.totals import COUNTS, count_uncounted, has_uncounted, read_usage
from conversations.tests.concurrency import with_own_connections
from conversations.tests.ending import end
from conversations.tests.factories import USER_ID, make_conversation
from inference_proxy.protocols.base import Sampling

Counts = tuple[int, int, int, int, int]
NOTHING: Counts = (0, 0, 0, 0, 0)
pytestmark = [pytest.mark.django_db, pytest.mark.one_day]


@pytest.fixture
def conversation() -> Conversation:
    return make_conversation()


def send(conversation: Conversation, key: str = "") -> Turn:
    return send_turn(
        conversation_id=conversation.id,
        user_id=conversation.user_id,
        content="hello",
        sampling=Sampling(),
        idempotency_key=key,
    )


def used(user_id: uuid.UUID = USER_ID) -> Counts:
    """Messages, replies, tokens, prompt tokens and milliseconds, of yesterday and today."""
    today = datetime.now(UTC).date()
    days = read_usage(user_id=user_id, first=today - timedelta(days=1), last=today, zone=ZoneInfo("UTC"))
    messages, replies, tokens, prompt_tokens, milliseconds = (sum(day[name] for day in days) for name in COUNTS)
    return messages, replies, tokens, prompt_tokens, milliseconds


@contextmanager
def totals_locked(how: str = "SELECT FROM usage_totals FOR UPDATE") -> Iterator[None]:
    """Keep all totals locked, as a node does that froze in the middle of a transaction."""
    known = connection.get_connection_params()
    same = {key: known[key] for key in ("dbname", "user", "password", "host", "port") if key in known}
    with psycopg.connect(**same) as holder:
        holder.execute(how)
        yield
        holder.rollback()


def test_a_turn_is_counted_when_it_is_saved_and_its_result_when_that_is(conversation: Conversation) -> None:
    turn = send(conversation)
    assert used() == (1, 1, 0, 0, 0)
    end(turn, token_count=12, prompt_tokens=30, inference_time_ms=400)
    assert used() == (1, 1, 12, 30, 400)
    end(send(conversation), token_count=1, prompt_tokens=None, inference_time_ms=2)
    assert used() == (2, 2, 13, 30, 402)


@pytest.mark.parametrize("status", ["complete", "stopped", "interrupted", "failed"])
def test_a_result_that_is_saved_twice_is_counted_once(conversation: Conversation, status: str) -> None:
    turn = send(conversation)
    for _ in range(3):
        end(turn, status, "some", token_count=7, prompt_tokens=8, inference_time_ms=9)  # type: ignore[arg-type]
    assert used() == (1, 1, 7, 8, 9)


def test_a_result_that_comes_after_a_guess_is_counted_once(conversation: Conversation) -> None:
    turn = send(conversation)
    Message.objects.filter(id=turn.reply_id).update(status="interrupted")
    end(turn, "interrupted", "some", token_count=5, prompt_tokens=None, inference_time_ms=50)
    end(turn, "complete", "some more", token_count=9, prompt_tokens=20, inference_time_ms=90)
    end(turn, "complete", "some more", token_count=9, prompt_tokens=20, inference_time_ms=90)
    assert used() == (1, 1, 9, 20, 90)


def test_a_result_belongs_to_the_time_of_its_turn(conversation: Conversation) -> None:
    turn = send(conversation)
    Message.objects.filter(id=turn.reply_id).update(created_at=Now() - timedelta(minutes=40))
    end(turn, token_count=5)
    assert sorted(UsageTotal.objects.values_list("replies", "tokens")) == [(0, 5), (1, 0)]


@pytest.mark.parametrize("time", [None, "infinity", "-infinity"])
def test_a_time_without_a_quarter_keeps_no_reply_from_being_saved(conversation: Conversation, time: str | None) -> None:
    turn = send(conversation)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE messages SET created_at = %s::text::timestamptz WHERE id = %s", [time, turn.reply_id])
    end(turn, token_count=5)
    assert Message.objects.get(id=turn.reply_id).status == "complete"
    assert used()[2] == 5


def test_another_answer_is_a_reply_without_a_message(conversation: Conversation) -> None:
    end(send(conversation), token_count=1)
    again = regenerate_turn(conversation_id=conversation.id, user_id=USER_ID, sampling=Sampling())
    assert used()[:3] == (1, 2, 1)
    end(again, token_count=10)
    assert used()[:3] == (1, 2, 11)


def test_an_edit_is_a_message_and_a_reply(conversation: Conversation) -> None:
    turn = send(conversation)
    end(turn, token_count=1)
    edited = edit_turn(
        conversation_id=conversation.id,
        user_id=USER_ID,
        message_id=turn.user_message_id,
        content="changed",
        sampling=Sampling(),
        idempotency_key="k",
    )
    end(edited, "failed", "", token_count=0)
    assert used()[:3] == (2, 2, 1)
    # The same edit again: a new reply to the same version.
    edit_turn(
        conversation_id=conversation.id,
        user_id=USER_ID,
        message_id=turn.user_message_id,
        content="changed",
        sampling=Sampling(),
        idempotency_key="k",
    )
    assert used()[:3] == (2, 3, 1)


def test_a_retry_counts_only_what_it_begins(conversation: Conversation) -> None:
    turn = send(conversation, "k")
    assert send(conversation, "k").reply_id == turn.reply_id
    assert used()[:2] == (1, 1)
    end(turn, "failed", "", token_count=0)
    assert send(conversation, "k").reply_id != turn.reply_id
    assert used()[:2] == (1, 2)


def test_a_send_that_is_refused_is_not_counted(conversation: Conversation) -> None:
    send(conversation)
    with pytest.raises(GenerationInProgress):
        send(conversation)
    assert used() == (1, 1, 0, 0, 0)


def test_anonymous_callers_are_not_counted() -> None:
    end(send(make_conversation(user_id=None)), token_count=5)
    assert not UsageTotal.objects.exists()


def test_only_one_s_own_usage_is_read(conversation: Conversation) -> None:
    end(send(make_conversation(user_id=uuid.uuid4())), token_count=5)
    assert used() == NOTHING


def test_what_is_deleted_or_pruned_stays_counted(conversation: Conversation) -> None:
    for each in (conversation, make_conversation()):
        end(send(each), token_count=5)
    before = used()
    delete_conversation(conversation_id=conversation.id, user_id=USER_ID)
    assert prune_history(criteria=PruneCriteria(user_id=USER_ID)).conversations == 1
    assert not Message.objects.exists()
    assert used() == before == (2, 2, 10, 0, 20)


def test_the_result_of_a_deleted_reply_is_not_counted(conversation: Conversation) -> None:
    turn = send(conversation)
    Message.objects.all().delete()
    end(turn, token_count=5)
    assert used() == (1, 1, 0, 0, 0)


@pytest.mark.django_db(transaction=True)
def test_turns_of_one_user_at_the_same_moment_all_count() -> None:
    conversations = [make_conversation() for _ in range(8)]

    def talk(number: int) -> None:
        for _ in range(3):
            end(send(conversations[number]), token_count=1)

    assert with_own_connections(talk, len(conversations)) == [None] * 8
    assert used()[:3] == (24, 24, 24)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "how", ["SELECT FROM usage_totals FOR UPDATE", "UPDATE usage_totals SET messages = 9", "DELETE FROM usage_totals"]
)
def test_a_send_waits_for_no_lock_on_its_user_s_totals_and_is_counted_later(how: str) -> None:
    conversation = make_conversation()
    end(send(conversation))
    before = used()
    with totals_locked(how):
        turn = send(conversation)
        assert turn.request is not None
        assert used() == before
        count_uncounted(run_on_own_connection)
        assert used() == before
    count_uncounted(run_on_own_connection)
    assert used()[:2] == (before[0] + 1, before[1] + 1)
    assert not has_uncounted()


@pytest.mark.django_db(transaction=True)
def test_a_send_that_is_rolled_back_is_not_counted_later() -> None:
    conversation = make_conversation()
    end(send(conversation))
    before = used()
    with totals_locked():
        with transaction.atomic():
            send(conversation)
            transaction.set_rollback(True)
    assert not has_uncounted()
    assert used() == before


def test_days_are_made_of_quarters_in_every_zone() -> None:
    # Half past five, and a quarter to six, east of Greenwich.
    quarters = [datetime(2026, 11, 20, 18, minute, tzinfo=UTC) for minute in (0, 15, 30, 45)]
    UsageTotal.objects.bulk_create(UsageTotal(user_id=USER_ID, bucket=quarter, messages=1) for quarter in quarters)

    def days(zone: str) -> list[int]:
        first = datetime(2026, 11, 20).date()
        read = read_usage(user_id=USER_ID, first=first, last=first + timedelta(days=1), zone=ZoneInfo(zone))
        return [day["messages"] for day in read]

    assert days("UTC") == [4, 0]
    assert days("Asia/Kolkata") == [2, 2]
    assert days("Asia/Kathmandu") == [1, 3]
