"""The hand-written statements of a send find what they should."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from conversations.exceptions import ConversationTooLong
from conversations.keyset import SortKey, after_key
from conversations.models import Conversation, Message, Status
from conversations.services import forks
from conversations.services.sending import statements
from conversations.services.sending.begin import continue_turn, edit_turn, regenerate_turn, send_turn
from conversations.services.sending.context import Budget
from conversations.services.sending.statements import Survey, survey_conversation
from conversations.services.sending.upstream_messages import History
from conversations.tests.factories import (
    USER_ID,
    make_conversation,
    make_message,
    make_reply,
    make_running_reply,
    make_turns,
)
from inference_proxy.protocols.base import Sampling

pytestmark = pytest.mark.django_db

COPIES_SQL = """
INSERT INTO messages (id, conversation_id, role, content, created_at, status, is_active)
SELECT gen_random_uuid(), conversation_id, role, content, created_at + number * interval '1 minute', status, is_active
FROM messages, generate_series(1, %s) AS number WHERE conversation_id = %s
"""


def survey(conversation: Any, budget: Budget, key: str = "") -> Survey:
    with transaction.atomic():
        return survey_conversation(conversation.id, USER_ID, budget, idempotency_key=key, limited=True)


@pytest.fixture
def conversation() -> Conversation:
    """A conversation with every kind of message, and another one beside it."""
    conversation = make_conversation()
    make_turns(make_conversation(), 1)
    turns = make_turns(conversation, 2)
    make_reply(turns[0], "another answer", is_active=False)
    asked = make_message(conversation, "ünïcödé " * 10, created_at=turns[-1].created_at)
    make_reply(asked, "partly", status=Status.FAILED)
    make_reply(asked, "", status=Status.FAILED, error_code="content_refused")
    make_running_reply(asked, "so far")
    return conversation


HISTORY = [
    ("assistant", True, 0, "", "", None),
    ("assistant", False, 6, "partly", "", None),
    ("user", False, 80, "ünïcödé ünïcöd", "", None),
    ("assistant", False, 8, "answer 2", "", None),
    ("user", False, 10, "question 2", "", None),
    ("assistant", False, 8, "answer 1", "", None),
    ("user", False, 10, "question 1", "", None),
]


@pytest.mark.parametrize("most", [1, 2, 5, 50])
def test_history_is_the_active_branch_without_a_running_reply(conversation: Conversation, settings: Any, most: int) -> None:
    settings.MAX_CONVERSATION_HISTORY = most
    settings.MAX_TOKEN_BUDGET = 19
    budget = Budget.left_by("newest", "")
    rows = budget.rows_to_read
    assert survey(conversation, budget).history == HISTORY[:rows]
    assert History(conversation.id).read(rows=rows, characters=budget.characters_to_read) == HISTORY[:rows]


@pytest.mark.parametrize("most", [1, 100])
def test_counting_the_history_leaves_out_what_has_no_text(conversation: Conversation, most: int) -> None:
    assert History(conversation.id).count(most) == min(most, 6)


@pytest.mark.parametrize("what", ["history", "fork"])
def test_counting_a_long_history_reads_one_conversation_only(monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """PostgreSQL expected to find enough of its messages among everyone's soon, and read the table."""
    long = make_conversation()
    make_turns(long, 1)
    monkeypatch.setattr(forks, "MOST_MESSAGES", 999)
    with connection.cursor() as cursor:
        cursor.execute(COPIES_SQL, [3000, long.id])
        cursor.execute("ANALYZE messages")
    with CaptureQueriesContext(connection) as queries:
        if what == "history":
            assert History(long.id).count(1000) == 1000
        else:
            with pytest.raises(ConversationTooLong):
                forks.measure_branch(conversation_id=long.id, user_id=USER_ID)
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN {queries[-1]['sql']}")
        plan = "\n".join(line for (line,) in cursor.fetchall())
    assert "using idx_messages_in_order" in plan, plan
    assert "Sort" not in plan, plan


def test_the_history_passes_over_versions_in_the_index() -> None:
    """A question was edited a thousand times. Its older versions and their answers come before the last one."""
    edited = make_conversation()
    make_turns(edited, 1)
    with connection.cursor() as cursor:
        cursor.execute(COPIES_SQL, [1500, edited.id])
        edited.messages.update(is_active=False)
        make_turns(edited, 10)
        cursor.execute("ANALYZE messages")
        # As in a large table.
        cursor.execute("SET LOCAL enable_seqscan = off")
        with CaptureQueriesContext(connection) as queries:
            assert len(History(edited.id).read(rows=50, characters=100)) == 20
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {queries[-1]['sql']}")
        [(plan,)] = cursor.fetchone()
    assert passed_over(plan["Plan"]) == 0, plan


def passed_over(plan: dict[str, Any]) -> int:
    """Return how many rows of the table a plan has read and not used."""
    return plan.get("Rows Removed by Filter", 0) + sum(map(passed_over, plan.get("Plans", ())))


def test_history_before_a_message(conversation: Conversation) -> None:
    keys = [SortKey(*key) for key in conversation.messages.newest_first().values_list("created_at", "id")]
    rows = Message.objects.in_conversation(conversation.id).active_branch().exclude(status=Status.STREAMING)
    for key in keys:
        before = rows.filter(after_key(key, "created_at", descending=True)).newest_first()
        history = History(conversation.id, before=key)
        assert [row[3] for row in history.read(rows=50, characters=100)] == [message.content for message in before]
        assert history.count(50) == before.exclude(content="").count()


def test_messages_without_a_time_come_last() -> None:
    conversation = make_conversation()
    make_turns(conversation, 1)
    untimed = sorted((make_message(conversation, f"untimed {n}") for n in range(3)), key=lambda message: message.id)
    conversation.messages.filter(id__in=[message.id for message in untimed]).update(created_at=None)
    history = History(conversation.id, before=SortKey(None, untimed[1].id))
    assert [row[3] for row in history.read(rows=50, characters=100)] == [untimed[0].content, "answer 1", "question 1"]
    assert history.count(2) == 2


def test_an_empty_conversation_has_no_history() -> None:
    assert survey(make_conversation(), Budget.left_by("newest", "")).history == []


@pytest.mark.parametrize(("age_s", "abandoned"), [(0, False), (60, True)])
def test_running_replies_are_those_of_the_queryset(age_s: float, abandoned: bool) -> None:
    conversation = make_conversation()
    running = make_running_reply(make_message(conversation), heartbeat_age_s=age_s)
    make_running_reply(make_message(make_conversation()))
    make_running_reply(make_message(make_conversation(user_id=None)))
    found = survey(conversation, Budget.left_by("newest", ""))
    assert (found.running_id, found.is_abandoned, found.running_of_user) == (running.id, abandoned, 2)


def test_running_replies_are_looked_up_only_where_a_turn_was_lately(settings: Any) -> None:
    """Otherwise a send would cost the more, the more conversations its user has, or the more replies all users have."""
    conversation = make_conversation()
    for ago_s in (settings.GENERATION_TIMEOUT + 180, settings.GENERATION_TIMEOUT + 4000):
        updated_at = datetime.now(UTC) - timedelta(seconds=ago_s)
        make_running_reply(make_message(make_conversation(updated_at=updated_at)))
    assert survey(conversation, Budget.left_by("newest", "")).running_of_user == 1


@pytest.mark.parametrize("verb", ["send", "regenerate", "edit", "continue"])
def test_whatever_begins_a_reply_is_counted_in_an_old_conversation(verb: str) -> None:
    conversation = make_conversation()
    asked = make_message(conversation)
    answer = make_reply(asked, status=Status.STOPPED)
    common: dict[str, Any] = {"conversation_id": conversation.id, "user_id": USER_ID, "sampling": Sampling()}
    if verb == "send":
        send_turn(**common, content="more")
    elif verb == "regenerate":
        regenerate_turn(**common)
    elif verb == "edit":
        edit_turn(**common, message_id=asked.id, content="other")
    else:
        continue_turn(**common, reply_id=answer.id)
    assert survey(make_conversation(), Budget.left_by("newest", "")).running_of_user == 1


def test_an_earlier_send_is_found_by_its_key_in_its_conversation() -> None:
    conversation = make_conversation()
    asked = make_message(conversation, idempotency_key="k", request_fingerprint="f")
    make_message(make_conversation(), idempotency_key="other", request_fingerprint="f")
    budget = Budget.left_by("newest", "")
    found = survey(conversation, budget, "k")
    assert (found.earlier_id, found.earlier_fingerprint) == (asked.id, "f")
    assert survey(conversation, budget, "other").earlier_id is None
    assert survey(conversation, budget).earlier_id is None


@pytest.mark.parametrize("verb", ["send", "regenerate", "edit"])
def test_what_is_said_next_is_the_newest_although_the_clock_stepped_back(verb: str) -> None:
    conversation = make_conversation()
    ahead = datetime.now(UTC) + timedelta(hours=1)
    asked = make_message(conversation, "asked", created_at=ahead)
    make_reply(asked, "answered", created_at=ahead + timedelta(seconds=1))
    sampling = Sampling()
    place: dict[str, Any] = {"conversation_id": conversation.id, "user_id": USER_ID, "sampling": sampling}
    if verb == "send":
        turn = send_turn(content="next", **place)
    elif verb == "regenerate":
        turn = regenerate_turn(**place)
    else:
        turn = edit_turn(message_id=asked.id, content="edited", **place)
    newest = list(conversation.messages.order_by("-created_at").values_list("id", "created_at"))
    assert newest[0][0] == turn.reply_id
    assert len({created_at for _, created_at in newest}) == len(newest)
    if verb != "regenerate":
        assert newest[1][0] == turn.user_message_id


def send(conversation: Conversation, **terms: Any) -> Message:
    """Send a question and return it."""
    sampling = Sampling()
    turn = send_turn(conversation_id=conversation.id, user_id=USER_ID, content="next", sampling=sampling, **terms)
    return Message.objects.get(id=turn.user_message_id)


SAVED = [field.attname for field in Message._meta.concrete_fields if field.attname not in ("id", "created_at", "is_followed")]


def saved_turns(monkeypatch: pytest.MonkeyPatch, *, is_short: bool) -> list[dict[str, Any]]:
    """Send twice to a new conversation and return the rows, with numbers in place of ids."""
    if not is_short:
        monkeypatch.setattr(statements, "APPEND_SQL", statements.INSERT_SQL)
    conversation = make_conversation()
    for number in range(2):
        asked = send(conversation, idempotency_key=f"key {number}")
        asked.conversation.messages.running().update(status=Status.COMPLETE, content="answer")
    rows = list(conversation.messages.oldest_first().values("id", "created_at", *SAVED))
    numbers = {str(row["id"]): number for number, row in enumerate(rows)} | {str(conversation.id): "conversation"}
    times = [row.pop("created_at") for row in rows]
    assert times == sorted(set(times))
    return [{name: numbers.get(str(value), value) for name, value in row.items()} for row in rows]


def test_the_short_insert_saves_what_the_long_one_does(monkeypatch: pytest.MonkeyPatch) -> None:
    assert saved_turns(monkeypatch, is_short=True) == saved_turns(monkeypatch, is_short=False)


def test_the_triggers_for_the_predecessor_pass_over_a_usual_question() -> None:
    conversation = make_conversation()
    make_turns(conversation, 1)
    assert send(conversation).is_followed is False


def test_rows_without_a_time_still_get_one_before_the_next_question() -> None:
    conversation = make_conversation()
    make_turns(conversation, 1)
    untimed = make_message(conversation, "untimed")
    Message.objects.filter(id=untimed.id).update(created_at=None)
    asked = send(conversation)
    assert asked.is_followed is None
    untimed.refresh_from_db()
    assert untimed.created_at is not None
    assert untimed.created_at < asked.created_at


@pytest.mark.parametrize("is_beside", [False, True])
def test_a_question_that_follows_what_another_one_follows_is_its_version(is_beside: bool) -> None:
    """Also where that one is not active: then the last active message is not the newest."""
    conversation = make_conversation()
    first, *_ = make_turns(conversation, 1)
    answer = conversation.messages.replies().get()
    other = make_message(conversation, "other", is_active=False, follows_id=answer.id if is_beside else first.id)
    asked = send(conversation)
    assert (asked.follows_id, asked.parent_id) == (answer.id, other.id if is_beside else None)
