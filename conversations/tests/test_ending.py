"""Where replies end: in one module, whatever the reason is."""

import re
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import transaction

from chatapi.database.connections import run_on_own_connection
from chatapi.database.round_trips import run_together
from conversations.models import Message, QueuedMessage, UsageTotal
from conversations.services.replies import ending, next_in_queue
from conversations.services.replies.ending import end_reply, interrupt_abandoned_in, interrupt_if_abandoned
from conversations.services.replies.leases import lease
from conversations.tests.factories import make_conversation, make_message, make_running_reply
from inference_proxy.replies.store import FinishedReply

pytestmark = pytest.mark.django_db
PACKAGE = Path(ending.__file__).resolve().parents[2]
# An assignment of a status that is not `streaming`, in SQL or through the ORM.
SQL = re.compile(r"\bSET\b(?:(?!\bWHERE\b|\bFROM\b|\"\"\").)*?\bstatus\s*=(?!\s*'streaming')", re.DOTALL)
ORM = re.compile(r"\.update\((?:[^()]|\([^()]*\))*?\bstatus=(?!Status\.STREAMING)", re.DOTALL)


def nothing_of(reply_id: UUID, status: Any = "failed", **more: Any) -> FinishedReply:
    values = {
        "text": "",
        "error_code": "",
        "token_count": 0,
        "prompt_tokens": None,
        "inference_time_ms": 0,
        "first_token_ms": None,
        "finish_reason": "",
        **more,
    }
    return FinishedReply(reply_id=reply_id, status=status, **values)


def running(**fields: Any) -> Message:
    reply = make_running_reply(make_message(make_conversation(user_id=uuid4())), "")
    Message.objects.filter(id=reply.id).update(worker=lease.worker_id, **fields)
    return reply


def wait_behind(reply: Message) -> QueuedMessage:
    return QueuedMessage.objects.create(
        id=uuid4(), reply_id=uuid4(), conversation_id=reply.conversation_id, place=1, content="next", request={}
    )


def test_no_other_module_ends_a_reply() -> None:
    sources = [file for file in PACKAGE.rglob("*.py") if not {"tests", "migrations"} & {*file.relative_to(PACKAGE).parts}]
    found = {file for file in sources if SQL.search(text := file.read_text()) or ORM.search(text)}
    assert found == {Path(ending.__file__).resolve()}


@pytest.mark.parametrize(
    ("text", "is_end"),
    [
        ("UPDATE messages SET status = 'interrupted' FROM lost", True),
        ("UPDATE messages\nSET worker = %s,\n    status = CASE WHEN true THEN 'stopped' END", True),
        ("UPDATE messages SET worker = %s, status = 'streaming'", False),
        ("UPDATE messages SET worker = %s WHERE status = 'stopped'", False),
        ("found.update(heartbeat_at=now(), status=status)", True),
        ("found.update(status=Status.STREAMING)", False),
    ],
)
def test_the_search_for_ends_finds_them(text: str, is_end: bool) -> None:
    assert bool(SQL.search(text) or ORM.search(text)) is is_end


def test_a_reply_that_was_not_begun_ends_without_numbers_and_starts_the_next() -> None:
    reply = running()
    waiting = wait_behind(reply)
    ended = end_reply(nothing_of(reply.id, error_code="quota_exceeded"), run_together, reason="not begun")
    assert ended is not None and (ended.status, ended.was_guessed) == ("failed", False)
    row = Message.objects.get(id=reply.id)
    assert (row.status, row.error_code, row.token_count, row.inference_time_ms, row.heartbeat_at) == (
        "failed",
        "quota_exceeded",
        None,
        None,
        None,
    )
    assert Message.objects.get(id=waiting.reply_id).status == "streaming"
    next_in_queue.queue_alarm.clear()
    ended.note()
    assert next_in_queue.queue_alarm.is_set()


def test_a_reply_that_was_not_begun_is_ended_by_its_worker_alone() -> None:
    reply = running()
    Message.objects.filter(id=reply.id).update(worker=uuid4())
    assert end_reply(nothing_of(reply.id), run_together, reason="not begun") is None
    assert Message.objects.get(id=reply.id).status == "streaming"


@pytest.mark.parametrize("reason", ["generated", "not begun"])
def test_a_stop_that_was_stored_before_wins(reason: Any) -> None:
    reply = running(stop_requested=True)
    ended = end_reply(nothing_of(reply.id), run_together, reason=reason)
    assert ended is not None and ended.status == "stopped"


@pytest.mark.parametrize("reason", ["generated", "not begun"])
def test_what_has_ended_is_ended_once(reason: Any) -> None:
    reply = running()
    assert end_reply(nothing_of(reply.id, "stopped"), run_together, reason=reason) is not None
    assert end_reply(nothing_of(reply.id), run_together, reason=reason) is None
    assert Message.objects.get(id=reply.id).status == "stopped"


def test_an_end_may_leave_the_next_message_to_others() -> None:
    reply = running(is_awaited=True)
    waiting = wait_behind(reply)
    assert end_reply(nothing_of(reply.id, "complete", text="all"), run_on_own_connection, starts_next=False) is not None
    assert not Message.objects.filter(id=waiting.reply_id).exists()


def test_usage_of_a_reply_that_was_not_begun_stays() -> None:
    reply = running()
    with transaction.atomic():
        end_reply(nothing_of(reply.id), run_together, reason="not begun")
    totals = UsageTotal.objects.filter(user_id=reply.conversation.user_id).values_list("tokens", "inference_time_ms")
    assert set(totals) <= {(0, 0)}


@pytest.mark.parametrize("age_s", [0, 60])
def test_the_reply_of_a_dead_worker_is_marked_and_nothing_else_of_it(age_s: float) -> None:
    for mark in (
        lambda reply: interrupt_abandoned_in(reply.conversation_id),
        lambda reply: interrupt_if_abandoned(reply.id),
    ):
        reply = make_running_reply(make_message(make_conversation()), "so far", heartbeat_age_s=age_s)
        before = Message.objects.filter(id=reply.id).values().get()
        mark(reply)
        expected = "interrupted" if age_s else "streaming"
        assert Message.objects.filter(id=reply.id).values().get() == {**before, "status": expected}
    assert interrupt_if_abandoned(reply.id) is False
