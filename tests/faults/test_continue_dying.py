"""Workers that end while they continue a reply: its text only grows, and it can be continued again."""

import os
import signal

import pytest

from tests.support.client import Client, Stream
from tests.support.server import Server
from tests.support.steps import die, done, hold, stall, tokens
from tests.support.upstream import ScriptedUpstream
from tests.support.waiting import wait_until

from .conftest import NewUser, StartNode

pytestmark = pytest.mark.slow
QUICK = {"ABANDONED_AFTER_SECONDS": "2"}
LIMIT_S = 40.0
CONTINUES = "Continue it exactly"


def broken_off(user: Client, upstream: ScriptedUpstream) -> tuple[str, str]:
    """Return a conversation and its last reply, which has the text "one"."""
    upstream.script(tokens("one"), die(), when="begin")
    conversation = user.create_conversation()
    reply = user.send(conversation, "begin")
    assert reply.finish()["status"] == "failed"
    return conversation, reply.message_id


def go_on(user: Client, conversation: str, reply_id: str) -> Stream:
    return user.open("POST", f"/api/conversations/{conversation}/messages/{reply_id}/continue", {})


def wait_for(user: Client, conversation: str, reply_id: str, status: str) -> str:
    wait_until(lambda: user.message(conversation, reply_id)["status"] == status, f"it is {status}", LIMIT_S)
    return str(user.message(conversation, reply_id)["content"])


def kill_workers(node: Server) -> None:
    for pid in node.workers():
        os.kill(pid, signal.SIGKILL)


def test_a_killed_workers_continuation_keeps_the_text_and_goes_on_elsewhere(
    start_node: StartNode, new_user: NewUser, upstream: ScriptedUpstream
) -> None:
    with start_node(**QUICK) as survivor, start_node(**QUICK) as node:
        user = new_user(node)
        elsewhere = user.at(survivor.port)
        conversation, reply_id = broken_off(user, upstream)
        upstream.script(tokens(" two"), stall(), when=CONTINUES)
        go_on(user, conversation, reply_id).read_until(" two")
        wait_until(lambda: elsewhere.message(conversation, reply_id)["content"] == "one two", "a checkpoint has saved it")
        kill_workers(node)
        assert wait_for(elsewhere, conversation, reply_id, "interrupted") == "one two"
        upstream.script(tokens(" three"), done(), when=CONTINUES)
        assert go_on(elsewhere, conversation, reply_id).finish()["status"] == "complete"
        assert elsewhere.message(conversation, reply_id)["content"] == "one two three"


def test_a_continuation_that_was_killed_before_its_first_word_leaves_the_text(
    start_node: StartNode, new_user: NewUser, upstream: ScriptedUpstream
) -> None:
    with start_node(**QUICK) as survivor, start_node(**QUICK) as node:
        user = new_user(node)
        conversation, reply_id = broken_off(user, upstream)
        gate = upstream.gate()
        upstream.script(hold(gate), when=CONTINUES)
        begun = user.request(
            "POST", f"/api/conversations/{conversation}/messages/{reply_id}/continue", {}, {"Prefer": "respond-async"}
        )
        assert begun.status == 202
        gate.wait_held()
        kill_workers(node)
        assert wait_for(user.at(survivor.port), conversation, reply_id, "interrupted") == "one"


def test_a_frozen_worker_does_not_write_over_what_another_has_continued(
    start_node: StartNode, new_user: NewUser, upstream: ScriptedUpstream
) -> None:
    with start_node(**QUICK) as survivor, start_node(**QUICK) as node:
        user = new_user(node)
        elsewhere = user.at(survivor.port)
        conversation, reply_id = broken_off(user, upstream)
        gate = upstream.gate()
        upstream.script(tokens(" two"), hold(gate), tokens(" and late"), done(), when=CONTINUES)
        frozen = go_on(user, conversation, reply_id)
        frozen.read_until(" two")
        wait_until(lambda: elsewhere.message(conversation, reply_id)["content"] == "one two", "a checkpoint has saved it")
        (worker,) = node.workers()
        os.kill(worker, signal.SIGSTOP)
        try:
            assert wait_for(elsewhere, conversation, reply_id, "interrupted") == "one two"
            upstream.script(tokens(" three"), done(), when=CONTINUES)
            assert go_on(elsewhere, conversation, reply_id).finish()["status"] == "complete"
        finally:
            os.kill(worker, signal.SIGCONT)
        gate.open()
        frozen.finish()
        message = elsewhere.message(conversation, reply_id)
        assert (message["status"], message["content"]) == ("complete", "one two three")


def test_what_waits_behind_a_continuation_has_its_turn_although_its_worker_dies(
    start_node: StartNode, new_user: NewUser, upstream: ScriptedUpstream
) -> None:
    with start_node(**QUICK) as survivor, start_node(**QUICK) as node:
        user = new_user(node)
        elsewhere = user.at(survivor.port)
        conversation, reply_id = broken_off(user, upstream)
        upstream.script(tokens(" two"), stall(), when=CONTINUES)
        go_on(user, conversation, reply_id).read_until(" two")
        waiting = elsewhere.send(conversation, "next", when_busy="enqueue")
        kill_workers(node)
        assert (waiting.finish()["status"], waiting.text) == ("complete", "next")
