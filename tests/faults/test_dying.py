"""Workers that end, in good order or not: what was shown is kept, and the conversations go on."""

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from devstack.postgres import PostgresServer
from tests.support.client import Client
from tests.support.server import Server
from tests.support.steps import done, hang_up, hold, stall, tokens
from tests.support.upstream import ScriptedUpstream
from tests.support.waiting import wait_until

from .conftest import NewUser, StartNode
from .reading import BROKEN

pytestmark = pytest.mark.slow
# Replies run on for 2 s; the rest of the graceful time is for saving.
GRACEFUL = ("--graceful-timeout", "7")
KEY = {"Idempotency-Key": "the-same"}


@pytest.fixture(scope="module")
def hasty_nodes(start_node: StartNode) -> Iterator[tuple[Server, Server]]:
    """Two nodes that soon take each other for dead."""
    with start_node(ABANDONED_AFTER_SECONDS="2") as one, start_node(ABANDONED_AFTER_SECONDS="2") as other:
        yield one, other


def test_on_sigterm_replies_finish_or_are_interrupted(
    survivor: Server, start_node: StartNode, new_user: NewUser, upstream: ScriptedUpstream
) -> None:
    gate = upstream.gate()
    upstream.script(tokens("half"), hold(gate), tokens(" and whole"), done(), when="finish")
    upstream.script(tokens("half"), stall(), when="stall")
    with start_node(*GRACEFUL) as ending, ThreadPoolExecutor(1) as thread:
        user = new_user(ending)
        streams = {}
        for name in ("finish", "stall"):
            streams[name] = user.send(user.create_conversation(), name)
            streams[name].read_until("half")
        stopped = thread.submit(ending.stop)
        wait_until(lambda: "worker ends" in ending.log, "the worker knows that it ends")
        gate.open()
        assert (streams["finish"].finish()["status"], streams["finish"].text) == ("complete", "half and whole")
        assert (streams["stall"].finish()["status"], streams["stall"].text) == ("interrupted", "half")
        stopped.result()
        assert_not_forced(ending)
        assert_kept(user.at(survivor.port), streams["stall"].headers["Content-Location"], "interrupted", "half")
        assert_kept(user.at(survivor.port), streams["finish"].headers["Content-Location"], "complete", "half and whole")


def test_on_sigterm_replies_without_a_reader_are_saved_too(
    survivor: Server, start_node: StartNode, new_user: NewUser, upstream: ScriptedUpstream
) -> None:
    gate = upstream.gate()
    upstream.script(tokens("half"), hold(gate), tokens(" and whole"), done(), when="finish")
    upstream.script(tokens("half"), hold(upstream.gate()), when="stall")
    # Checkpoints so rare that they save nothing.
    with start_node(*GRACEFUL, CHECKPOINT_SECONDS="100") as ending, ThreadPoolExecutor(1) as thread:
        user = new_user(ending)
        places = {name: send_and_leave(user, name) for name in ("finish", "stall")}
        wait_until(lambda: len(upstream.generations()) == 2, "both replies run")
        stopped = thread.submit(ending.stop)
        wait_until(lambda: "worker ends" in ending.log, "the worker knows that it ends")
        gate.open()
        stopped.result()
        assert_not_forced(ending)
        assert_kept(user.at(survivor.port), places["finish"], "complete", "half and whole")
        assert_kept(user.at(survivor.port), places["stall"], "interrupted", "half")


def test_on_sigterm_streams_end_properly_although_the_database_is_away(
    start_node: StartNode, new_user: NewUser, upstream: ScriptedUpstream, postgres: PostgresServer
) -> None:
    upstream.script(tokens("half"), stall())
    with start_node(*GRACEFUL) as ending:
        user = new_user(ending)
        stream = user.send(user.create_conversation(), "stall")
        stream.read_until("half")
        postgres.crash()
        try:
            with ThreadPoolExecutor(1) as thread:
                stopped = thread.submit(ending.stop)
                last = stream.finish()
                stopped.result()
            assert_not_forced(ending)
        finally:
            postgres.start()
        assert (last["status"], stream.objects[-2]["error"], stream.text) == ("interrupted", "not_saved", "half")


def test_on_sigterm_a_reader_of_another_nodes_reply_is_sent_there(
    survivor: Server, start_node: StartNode, new_user: NewUser, upstream: ScriptedUpstream
) -> None:
    gate = upstream.gate()
    upstream.script(tokens("half"), hold(gate), tokens(" and whole"), done())
    with start_node(*GRACEFUL) as ending:
        user = new_user(survivor)
        conversation = user.create_conversation()
        sender = user.send(conversation, "go on")
        follower = user.at(ending.port).follow(conversation, sender.message_id)
        follower.read_until("half")
        ending.stop()
        assert_not_forced(ending)
        assert [frame for frame in follower if frame.object] == []  # it ends in good order, and does not say `done`
        again = user.follow(conversation, sender.message_id, last_event_id=follower.last_event_id)
        gate.open()
        assert (again.finish()["status"], follower.text + again.text) == ("complete", "half and whole")


@pytest.mark.parametrize(
    ("age", "limit_s"),
    [
        pytest.param({"ABANDONED_AFTER_SECONDS": "3"}, 30, id="short"),
        # The real age at which replies count as abandoned: the promise is 40 s.
        pytest.param({}, 40, id="real", marks=pytest.mark.exhaustive),
    ],
)
def test_a_killed_workers_replies_are_interrupted_and_the_conversation_goes_on(
    start_node: StartNode, new_user: NewUser, upstream: ScriptedUpstream, age: dict[str, str], limit_s: float
) -> None:
    upstream.script(tokens("shown", " and saved"), stall(), when="stall")
    with start_node(**age) as survivor, start_node(**age) as node:
        user = new_user(node)
        conversation = user.create_conversation()
        stream = user.send(conversation, "stall")
        stream.read_until(" and saved")
        elsewhere = user.at(survivor.port)
        wait_until(lambda: elsewhere.message(conversation, stream.message_id)["content"], "a checkpoint has saved the text")
        follower = elsewhere.follow(conversation, stream.message_id, last_event_id=stream.last_event_id)
        kill_workers(node)
        assert broke_off(stream)
        refused = elsewhere.send(conversation, "too early")
        assert (refused.status, refused.json["code"]) == (409, "generation_in_progress")
        wait_until(
            lambda: elsewhere.message(conversation, stream.message_id)["status"] == "interrupted", "it is interrupted", limit_s
        )
        assert elsewhere.message(conversation, stream.message_id)["content"] == "shown and saved"
        assert (follower.finish()["status"], follower.text) == ("interrupted", "")
        assert elsewhere.ask(conversation, "go on").text == "go on"
        assert user.at(node.port).ask(conversation, "at the new worker").text == "at the new worker"


def test_a_send_takes_over_from_a_killed_worker_before_anyone_has_marked_its_reply(
    start_node: StartNode, new_user: NewUser, upstream: ScriptedUpstream
) -> None:
    upstream.script(tokens("lost"), stall(), when="stall")
    with start_node(ABANDONED_AFTER_SECONDS="2") as node:
        user = new_user(node)
        conversation = user.create_conversation()
        stream = user.send(conversation, "stall")
        stream.read_until("lost")
        kill_workers(node)
        answer = wait_until(lambda: accepted(user, conversation), "a new send is taken")
        assert answer.finish()["status"] == "complete"
        assert [item["status"] for item in user.messages(conversation)][1::2] == ["interrupted", "complete"]


def test_a_worker_that_was_only_frozen_has_the_last_word(
    hasty_nodes: tuple[Server, Server], new_user: NewUser, upstream: ScriptedUpstream
) -> None:
    gate = upstream.gate()
    upstream.script(tokens("half"), hold(gate), tokens(" and whole"), done(), when="freeze")
    survivor, node = hasty_nodes
    user = new_user(node)
    conversation = user.create_conversation()
    stream = user.send(conversation, "freeze")
    stream.read_until("half")
    elsewhere = user.at(survivor.port)
    wait_until(lambda: elsewhere.message(conversation, stream.message_id)["content"], "a checkpoint has saved the text")
    with frozen(node):
        follower = elsewhere.follow(conversation, stream.message_id)
        assert (follower.finish()["status"], follower.text) == ("interrupted", "half")
    gate.open()
    assert (stream.finish()["status"], stream.text) == ("complete", "half and whole")
    assert_kept(elsewhere, stream.headers["Content-Location"], "complete", "half and whole")


def test_an_answer_that_another_worker_broke_off_gives_way_to_one_that_was_taken_for_dead(
    hasty_nodes: tuple[Server, Server], new_user: NewUser, upstream: ScriptedUpstream
) -> None:
    """Twice: the second answer, and then the first one, where a retry began another one meanwhile."""
    survivor, node = hasty_nodes
    user = new_user(node)
    elsewhere = user.at(survivor.port)
    conversation = user.create_conversation()

    upstream.script(tokens("half"), hang_up(), when="question")
    assert user.ask(conversation, "question").text == "half"
    gate = upstream.gate()
    upstream.script(hold(gate), tokens("whole"), done(), when="question")
    regenerated = user.regenerate(conversation)
    with frozen(node):
        wait_until_interrupted(elsewhere, conversation, regenerated.message_id)
        assert active_answers(elsewhere, conversation) == ["half"]
    gate.open()
    assert regenerated.finish()["status"] == "complete"
    assert active_answers(elsewhere, conversation) == ["whole"]

    gate = upstream.gate()
    upstream.script(hold(gate), tokens("late"), done(), when="another")
    first = user.send(conversation, "another", headers=KEY)
    with frozen(node):
        wait_until_interrupted(elsewhere, conversation, first.message_id)
        upstream.script(tokens("half again"), hang_up(), when="another")
        retry = elsewhere.send(conversation, "another", headers=KEY)
        assert (retry.finish()["status"], retry.text) == ("failed", "half again")
        assert active_answers(elsewhere, conversation) == ["whole", "half again"]
    gate.open()
    assert first.finish()["status"] == "complete"
    assert active_answers(elsewhere, conversation) == ["whole", "late"]


def test_a_regeneration_counts_over_an_answer_that_was_taken_for_dead(
    hasty_nodes: tuple[Server, Server], new_user: NewUser, upstream: ScriptedUpstream
) -> None:
    survivor, node = hasty_nodes
    user = new_user(node)
    elsewhere = user.at(survivor.port)
    conversation = user.create_conversation()
    gate, later_gate = upstream.gate(), upstream.gate()
    upstream.script(hold(gate), tokens("late"), done(), when="question")
    first = user.send(conversation, "question")
    with frozen(node):
        wait_until_interrupted(elsewhere, conversation, first.message_id)
        upstream.script(tokens("new"), hold(later_gate), tokens("er"), done(), when="question")
        regenerated = elsewhere.regenerate(conversation)
        regenerated.read_until("new")
    gate.open()
    assert first.finish()["status"] == "complete"
    assert active_answers(elsewhere, conversation) == ["late"]
    later_gate.open()
    assert (regenerated.finish()["status"], regenerated.text) == ("complete", "newer")
    assert active_answers(user, conversation) == ["newer"]


@contextmanager
def frozen(node: Server) -> Iterator[None]:
    """Stop a node's workers for a while, as a machine that sleeps."""
    workers = node.workers()
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in workers:
            os.kill(pid, signal.SIGCONT)


def wait_until_interrupted(user: Client, conversation: str, message_id: str) -> None:
    wait_until(lambda: user.message(conversation, message_id)["status"] == "interrupted", "the reply is taken for dead")


def active_answers(user: Client, conversation: str) -> list[str]:
    answers = [message for message in user.messages(conversation) if message["role"] == "assistant"]
    return [answer["content"] for answer in answers if answer["is_active"]]


def kill_workers(node: Server) -> None:
    for pid in node.workers():
        os.kill(pid, signal.SIGKILL)


def assert_not_forced(ended: Server) -> None:
    """The worker went by itself: gunicorn had to end neither its streams nor the worker."""
    assert "worker ends" in ended.log
    assert "graceful timeout" not in ended.log
    assert "Worker exiting" in ended.log


def broke_off(stream) -> bool:
    try:
        return not any("done" in (frame.object or {}) for frame in stream)
    except BROKEN:
        return True


def accepted(user: Client, conversation: str):
    stream = user.send(conversation, "go on")
    if stream.status == 200:
        return stream
    stream.close()
    return None


def send_and_leave(user: Client, content: str) -> str:
    """Begin a reply that no client follows, and return its address."""
    path = f"/api/conversations/{user.create_conversation()}/messages"
    answer = user.request("POST", path, {"content": content}, {"Prefer": "respond-async"})
    assert answer.status == 202
    return answer.headers["Content-Location"]


def assert_kept(user: Client, place: str, status: str, text: str) -> None:
    message = user.get(place)
    assert (message["status"], message["content"]) == (status, text)
