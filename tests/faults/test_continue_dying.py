"""Workers that end while they continue a reply: its text only grows, and it can be continued again."""

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.support.client import Client, Stream
from tests.support.server import Server
from tests.support.steps import Step, die, done, hold, stall, tokens
from tests.support.upstream import ScriptedUpstream
from tests.support.waiting import wait_until

from .conftest import NewUser, StartNode

pytestmark = pytest.mark.slow
QUICK = {"ABANDONED_AFTER_SECONDS": "2"}
LIMIT_S = 40.0
CONTINUES = "Continue it exactly"


@dataclass
class Broken:
    """A reply that broke off after "one", at a node of one worker, and another node that sees it."""

    node: Server
    upstream: ScriptedUpstream
    user: Client
    elsewhere: Client
    conversation: str
    reply_id: str

    @property
    def path(self) -> str:
        return f"/api/conversations/{self.conversation}/messages/{self.reply_id}/continue"

    def go_on(self, user: Client, *steps: Step) -> Stream:
        """Continue the reply, with a model that does these steps."""
        self.upstream.script(*steps, when=CONTINUES)
        return user.open("POST", self.path, {})

    def wait_for_checkpoint(self, text: str) -> None:
        wait_until(lambda: self.message()["content"] == text, "a checkpoint has saved it")

    def wait_for(self, status: str) -> str:
        wait_until(lambda: self.message()["status"] == status, f"it is {status}", LIMIT_S)
        return str(self.message()["content"])

    def message(self) -> dict[str, Any]:
        return self.elsewhere.message(self.conversation, self.reply_id)

    def kill_workers(self) -> None:
        for pid in self.node.workers():
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def broken(start_node: StartNode, new_user: NewUser, upstream: ScriptedUpstream) -> Iterator[Broken]:
    with start_node(**QUICK) as survivor, start_node(**QUICK) as node:
        user = new_user(node)
        upstream.script(tokens("one"), die(), when="begin")
        conversation = user.create_conversation()
        reply = user.send(conversation, "begin")
        assert reply.finish()["status"] == "failed"
        yield Broken(node, upstream, user, user.at(survivor.port), conversation, reply.message_id)


def test_a_killed_workers_continuation_keeps_the_text_and_goes_on_elsewhere(broken: Broken) -> None:
    broken.go_on(broken.user, tokens(" two"), stall()).read_until(" two")
    broken.wait_for_checkpoint("one two")
    broken.kill_workers()
    assert broken.wait_for("interrupted") == "one two"
    assert broken.go_on(broken.elsewhere, tokens(" three"), done()).finish()["status"] == "complete"
    assert broken.message()["content"] == "one two three"


def test_a_continuation_that_was_killed_before_its_first_word_leaves_the_text(broken: Broken) -> None:
    gate = broken.upstream.gate()
    broken.upstream.script(hold(gate), when=CONTINUES)
    assert broken.user.request("POST", broken.path, {}, {"Prefer": "respond-async"}).status == 202
    gate.wait_held()
    broken.kill_workers()
    assert broken.wait_for("interrupted") == "one"


def test_a_frozen_worker_does_not_write_over_what_another_has_continued(broken: Broken) -> None:
    gate = broken.upstream.gate()
    frozen = broken.go_on(broken.user, tokens(" two"), hold(gate), tokens(" and late"), done())
    frozen.read_until(" two")
    broken.wait_for_checkpoint("one two")
    (worker,) = broken.node.workers()
    os.kill(worker, signal.SIGSTOP)
    try:
        assert broken.wait_for("interrupted") == "one two"
        assert broken.go_on(broken.elsewhere, tokens(" three"), done()).finish()["status"] == "complete"
    finally:
        os.kill(worker, signal.SIGCONT)
    gate.open()
    frozen.finish()
    assert (broken.message()["status"], broken.message()["content"]) == ("complete", "one two three")


def test_what_waits_behind_a_continuation_has_its_turn_although_its_worker_dies(broken: Broken) -> None:
    broken.go_on(broken.user, tokens(" two"), stall()).read_until(" two")
    waiting = broken.elsewhere.send(broken.conversation, "next", when_busy="enqueue")
    broken.kill_workers()
    assert (waiting.finish()["status"], waiting.text) == ("complete", "next")
