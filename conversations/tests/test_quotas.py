"""Quotas: how many tokens a user may get per day and month."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext

from conversations.exceptions import QuotaExceeded
from conversations.models import Conversation, Message, UsageTotal, UserQuota
from conversations.services.sending.begin import edit_turn, regenerate_turn, send_turn
from conversations.services.sending.turn import Turn
from conversations.services.usage.quotas import read_quota
from conversations.tests.concurrency import with_own_connections
from conversations.tests.ending import end
from conversations.tests.factories import USER_ID, make_conversation, make_running_reply, make_turns
from inference_proxy.protocols.base import Sampling

pytestmark = [pytest.mark.django_db, pytest.mark.one_day]
STRANGER = uuid.uuid4()


def now() -> datetime:
    """The time of the database's transaction, by which quotas count."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT now()")
        read: datetime = cursor.fetchone()[0]
    return read.astimezone(UTC)


def start_of_day() -> datetime:
    return now().replace(hour=0, minute=0, second=0, microsecond=0)


def start_of_month() -> datetime:
    return start_of_day().replace(day=1)


def use(tokens: int, at: datetime | None = None, user_id: uuid.UUID = USER_ID) -> None:
    # Not a whole quarter of an hour, so that it is no row that a send counts in.
    UsageTotal.objects.create(user_id=user_id, bucket=(at or start_of_day()) + timedelta(minutes=7), tokens=tokens)


def send(conversation: Conversation, key: str = "") -> Turn:
    return send_turn(
        conversation_id=conversation.id,
        user_id=conversation.user_id,
        content="hello",
        sampling=Sampling(),
        idempotency_key=key,
    )


def regenerate(conversation: Conversation) -> Turn:
    return regenerate_turn(conversation_id=conversation.id, user_id=conversation.user_id, sampling=Sampling())


def edit(conversation: Conversation) -> Turn:
    asked = conversation.messages.filter(role="user").newest_first()[0]
    return edit_turn(
        conversation_id=conversation.id,
        user_id=conversation.user_id,
        message_id=asked.id,
        content="changed",
        sampling=Sampling(),
    )


@pytest.mark.parametrize("verb", [send, regenerate, edit])
def test_a_user_who_has_used_the_days_tokens_begins_no_reply(settings: Any, verb: Any) -> None:
    settings.QUOTA_TOKENS_DAY = 100
    conversation = make_conversation()
    make_turns(conversation, 1)
    use(100)
    with pytest.raises(QuotaExceeded) as refusal:
        verb(conversation)
    assert conversation.messages.count() == 2
    resets_at = start_of_day() + timedelta(days=1)
    assert refusal.value.extra == {"resets_at": resets_at}
    assert refusal.value.retry_after_s is not None
    assert 0 <= refusal.value.retry_after_s - (resets_at - now()).total_seconds() <= 1
    assert "this day" in refusal.value.text


@pytest.mark.parametrize("verb", [send, regenerate, edit])
def test_a_user_with_a_token_left_begins_a_reply(settings: Any, verb: Any) -> None:
    settings.QUOTA_TOKENS_DAY = settings.QUOTA_TOKENS_MONTH = 100
    conversation = make_conversation()
    make_turns(conversation, 1)
    use(99)
    use(1000, user_id=STRANGER)
    assert verb(conversation).request is not None


def test_a_day_begins_at_midnight_in_utc_whatever_the_session_s_time_zone_is(settings: Any) -> None:
    settings.QUOTA_TOKENS_DAY = 100
    use(1000, start_of_day() - timedelta(minutes=15))
    use(7, start_of_day())
    for zone in ("Pacific/Auckland", "America/Los_Angeles"):
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('TimeZone', %s, true)", [zone])
        day = read_quota(USER_ID).day
        assert day is not None
        assert (day.used, day.resets_at) == (7, start_of_day() + timedelta(days=1))
    send(make_conversation())


def test_a_month_begins_on_its_first_day_in_utc(settings: Any) -> None:
    settings.QUOTA_TOKENS_MONTH = 100
    use(1000, start_of_month() - timedelta(minutes=15))
    use(99, start_of_month())
    send(make_conversation())
    use(1, start_of_month() + timedelta(minutes=15))
    with pytest.raises(QuotaExceeded, match="this month") as refusal:
        send(make_conversation())
    assert refusal.value.extra["resets_at"] == (start_of_month() + timedelta(days=32)).replace(day=1)


def test_if_both_are_used_up_the_user_waits_for_the_month(settings: Any) -> None:
    settings.QUOTA_TOKENS_DAY = settings.QUOTA_TOKENS_MONTH = 100
    use(100)
    with pytest.raises(QuotaExceeded, match="this month"):
        send(make_conversation())


def test_what_replies_use_is_counted(settings: Any) -> None:
    settings.QUOTA_TOKENS_DAY = 10
    conversation = make_conversation()
    end(send(conversation), token_count=9)
    end(send(conversation), token_count=5)
    with pytest.raises(QuotaExceeded):
        send(conversation)


# --- Who has which quota --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("own", "is_refused"), [(200, False), (None, True), (0, False), (50, True)])
def test_a_user_s_own_limit_replaces_that_of_all(settings: Any, own: int | None, is_refused: bool) -> None:
    settings.QUOTA_TOKENS_DAY = 100
    UserQuota.objects.create(user_id=USER_ID, tokens_day=own)
    use(100)
    if is_refused:
        with pytest.raises(QuotaExceeded):
            send(make_conversation())
    else:
        send(make_conversation())


def test_an_own_limit_for_a_period_that_has_none_for_all(settings: Any) -> None:
    settings.QUOTA_TOKENS_DAY = 100
    UserQuota.objects.create(user_id=USER_ID, tokens_month=50)
    use(50)
    with pytest.raises(QuotaExceeded, match="this month"):
        send(make_conversation())
    quota = read_quota(STRANGER)
    assert quota.month is None
    assert quota.day is not None
    assert (quota.day.limit, quota.day.used) == (100, 0)


def test_callers_without_a_token_have_none(settings: Any) -> None:
    settings.QUOTA_TOKENS_DAY = 1
    send(make_conversation(user_id=None))


@pytest.mark.parametrize("verb", [send, regenerate, edit])
def test_nothing_is_read_where_no_quota_is_set(verb: Any) -> None:
    conversation = make_conversation()
    make_turns(conversation, 1)
    with CaptureQueriesContext(
        connection,
    ) as queries:
        verb(conversation)
    assert queries.captured_queries
    assert not [query for query in queries.captured_queries if "user_quotas" in query["sql"]]
    with CaptureQueriesContext(connection) as queries:
        assert read_quota(USER_ID).as_json() is None
    assert not queries.captured_queries


@pytest.mark.parametrize("verb", [send, regenerate, edit])
def test_one_statement_is_read_where_a_quota_is_set(settings: Any, verb: Any) -> None:
    settings.QUOTA_TOKENS_DAY = 100
    conversation = make_conversation()
    make_turns(conversation, 1)
    with CaptureQueriesContext(connection) as queries:
        verb(conversation)
    assert len([query for query in queries.captured_queries if "user_quotas" in query["sql"]]) == 1


# --- Beside other promises ------------------------------------------------------------------------------------------------


def test_a_repeated_send_follows_its_reply_without_a_token_left(settings: Any) -> None:
    settings.QUOTA_TOKENS_DAY = 100
    conversation = make_conversation()
    first = send(conversation, "k")
    end(first, token_count=100)
    assert send(conversation, "k").reply_id == first.reply_id


def test_a_retry_of_a_void_reply_is_a_new_one_and_refused(settings: Any) -> None:
    settings.QUOTA_TOKENS_DAY = 100
    conversation = make_conversation()
    end(send(conversation, "k"), "failed", "", token_count=0)
    use(100)
    with pytest.raises(QuotaExceeded):
        send(conversation, "k")
    assert conversation.messages.count() == 2


@pytest.mark.parametrize("verb", [send, regenerate, edit])
def test_the_quota_is_checked_before_a_running_reply_could_be_stopped(settings: Any, verb: Any) -> None:
    settings.QUOTA_TOKENS_DAY = 100
    conversation = make_conversation()
    asked, _ = make_turns(conversation, 1)
    make_running_reply(asked)
    use(100)
    with pytest.raises(QuotaExceeded):
        verb(conversation)


def test_a_reply_counts_for_the_day_on_which_it_began(settings: Any) -> None:
    settings.QUOTA_TOKENS_DAY = 100
    conversation = make_conversation()
    turn = send(conversation)
    Message.objects.filter(id=turn.reply_id).update(created_at=Now() - timedelta(days=1))
    end(turn, token_count=500)
    send(conversation)


@pytest.mark.django_db(transaction=True)
def test_of_many_sends_at_once_none_passes_a_used_up_quota(settings: Any) -> None:
    settings.QUOTA_TOKENS_DAY = 100
    conversations = [make_conversation() for _ in range(8)]
    use(100)
    results = with_own_connections(lambda number: send(conversations[number]), 8)
    assert [type(result) for result in results] == [QuotaExceeded] * 8
    assert Message.objects.count() == 0


@pytest.mark.django_db(transaction=True)
def test_the_replies_that_may_exceed_a_quota_are_those_that_may_run_at_once(settings: Any) -> None:
    settings.QUOTA_TOKENS_DAY = 100
    settings.USER_MAX_GENERATIONS = 3
    conversations = [make_conversation() for _ in range(8)]
    use(99)
    turns = [
        result for result in with_own_connections(lambda number: send(conversations[number]), 8) if isinstance(result, Turn)
    ]
    assert len(turns) == 3
    for turn in turns:
        end(turn, token_count=10)
    day = read_quota(USER_ID).day
    assert day is not None
    assert day.used == 129
    with pytest.raises(QuotaExceeded):
        send(make_conversation())
