"""Stopping what another worker generates, and what nobody generates any more."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection, connections, transaction

from chatapi.incoming.arrival import note_request
from conversations.models import Conversation, Message
from conversations.services.conversations import delete_conversation
from conversations.services.replies import stop
from conversations.services.replies.stop import stop_reply, stop_running_reply
from conversations.services.replies.store import DatabaseReplyStore
from conversations.services.sending.begin import send_turn
from conversations.services.sending.turn import Turn
from conversations.tests.factories import (
    USER_ID,
    make_conversation,
    make_message,
    make_reply,
    make_running_reply,
    make_turns,
)
from inference_proxy.protocols.base import Sampling
from inference_proxy.replies.store import Draft, FinishedReply
from tests.support.waiting import LIMIT_S, wait_until


def other_worker(reply_id: object, began: threading.Event) -> str:
    """Be the worker that writes a reply: learn at a checkpoint that it is to end, and save it as stopped."""
    store = DatabaseReplyStore()
    try:
        began.set()
        wait_until(lambda: store.checkpoint([Draft(reply_id, "half")]).to_stop, "the stop was requested")  # type: ignore[arg-type]
        store.finish(
            FinishedReply(
                reply_id=reply_id,  # type: ignore[arg-type]
                status="stopped",
                text="half",
                error_code="",
                token_count=1,
                prompt_tokens=None,
                inference_time_ms=1,
                first_token_ms=1,
                finish_reason="",
            )
        )
        return "stopped"
    finally:
        connections.close_all()


@pytest.mark.django_db
def test_where_nothing_runs_nothing_is_stopped() -> None:
    conversation = make_conversation()
    make_turns(conversation, 1)
    assert stop_running_reply(conversation.id) is None
    assert {message.status for message in conversation.messages.all()} == {"complete"}


@pytest.mark.django_db
def test_a_reply_without_a_worker_is_ended_at_once() -> None:
    conversation = make_conversation()
    lost = make_running_reply(make_message(conversation), "half", heartbeat_age_s=31)
    assert stop_running_reply(conversation.id) == lost.id
    lost.refresh_from_db()
    assert (lost.status, lost.content) == ("interrupted", "half")


@pytest.mark.django_db
def test_a_worker_that_does_not_answer_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stop, "STOP_WAIT_S", 0.05)
    conversation = make_conversation()
    running = make_running_reply(make_message(conversation))
    assert stop_running_reply(conversation.id) == running.id
    running.refresh_from_db()
    assert (running.status, running.stop_requested) == ("streaming", True)


@pytest.mark.django_db
def test_a_stop_answers_with_the_reply_that_it_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client that saw the end of this reply may have sent the next message before the stop looks again."""
    conversation = make_conversation()
    running = make_running_reply(make_message(conversation))

    class Clock:
        monotonic = staticmethod(stop.time.monotonic)

        @staticmethod
        def sleep(_: float) -> None:
            Message.objects.filter(id=running.id).update(status="complete", content="whole")
            make_running_reply(make_message(conversation, "the next question"))

    monkeypatch.setattr(stop, "time", Clock)
    assert stop_reply(conversation.id) == running.id


@pytest.mark.django_db
def test_where_nothing_runs_a_stop_answers_with_the_newest_reply_that_counts() -> None:
    conversation = make_conversation()
    asked, answer = make_turns(conversation, 1)
    make_reply(asked, "", status="failed", is_active=False)
    assert stop_reply(conversation.id) == answer.id
    assert stop_reply(make_conversation().id) is None


@pytest.mark.django_db(transaction=True)
def test_another_worker_s_reply_is_stopped_and_saved_before_the_answer() -> None:
    conversation = make_conversation()
    running = make_running_reply(make_message(conversation))
    began = threading.Event()
    with ThreadPoolExecutor(1) as threads:
        worker = threads.submit(other_worker, running.id, began)
        assert began.wait(LIMIT_S)
        assert stop_running_reply(conversation.id) == running.id
        running.refresh_from_db()
        assert (running.status, running.content) == ("stopped", "half")
        assert worker.result(LIMIT_S) == "stopped"


@pytest.mark.django_db(transaction=True)
def test_no_connection_is_held_while_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    conversation = make_conversation()
    running = make_running_reply(make_message(conversation))
    held: list[bool] = []

    class Clock:
        monotonic = staticmethod(stop.time.monotonic)

        @staticmethod
        def sleep(_: float) -> None:
            held.append(connection.connection is not None)
            Message.objects.filter(id=running.id).update(status="stopped")

    monkeypatch.setattr(stop, "time", Clock)
    assert stop_running_reply(conversation.id) == running.id
    assert held == [False]


@pytest.mark.django_db(transaction=True)
def test_deleting_stops_first() -> None:
    conversation = make_conversation()
    running = make_running_reply(make_message(conversation))
    began = threading.Event()
    with ThreadPoolExecutor(1) as threads:
        worker = threads.submit(other_worker, running.id, began)
        assert began.wait(LIMIT_S)
        delete_conversation(conversation_id=conversation.id, user_id=USER_ID)
        assert worker.result(LIMIT_S) == "stopped"
    assert not Conversation.objects.exists()
    assert not Message.objects.exists()


def send(conversation: Conversation, key: str = "") -> Turn:
    sampling = Sampling()
    return send_turn(conversation_id=conversation.id, user_id=USER_ID, content="hello", sampling=sampling, idempotency_key=key)


@pytest.mark.django_db(transaction=True)
def test_a_stop_with_the_key_of_a_send_that_comes_later_stops_its_reply() -> None:
    conversation = make_conversation()
    assert stop_reply(conversation.id, "k") is None
    other = send(conversation, "other")
    assert other.request is not None
    Message.objects.filter(id=other.reply_id).update(status="complete")
    turn = send(conversation, "k")
    assert turn.request is None
    assert Message.objects.get(id=turn.reply_id).status == "stopped"


@pytest.mark.django_db(transaction=True)
def test_a_mark_is_met_for_thirty_seconds() -> None:
    conversation = make_conversation(stop_marked_key="k", stop_marked_at=datetime.now(UTC) - timedelta(seconds=31))
    assert send(conversation, "k").request is not None


@pytest.mark.django_db(transaction=True)
def test_a_stop_without_a_key_does_not_stop_a_later_send() -> None:
    conversation = make_conversation()
    assert stop_reply(conversation.id) is None
    assert send(conversation).request is not None


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("has_arrived", [True, False])
def test_a_stop_stops_a_send_that_has_arrived_and_not_begun(has_arrived: bool) -> None:
    conversation = make_conversation()

    def send_around_a_stop() -> bool:
        if has_arrived:
            note_request()
        stop_reply(conversation.id)
        if not has_arrived:
            note_request()
        turn = send(conversation)
        return turn.request is None

    assert copy_context().run(send_around_a_stop) is has_arrived


@pytest.mark.django_db(transaction=True)
def test_a_stop_stops_a_send_that_waits_for_its_lock() -> None:
    conversation = make_conversation()
    with transaction.atomic():
        connection.cursor().execute("SELECT now()")
        # Another connection's stop comes while this send's transaction has begun and its lock is not taken.
        with ThreadPoolExecutor(1) as threads:
            assert threads.submit(_stop, conversation).result(LIMIT_S) is None
        turn = send(conversation)
    assert turn.request is None


def _stop(conversation: Conversation) -> object:
    try:
        return stop_reply(conversation.id)
    finally:
        connections.close_all()
