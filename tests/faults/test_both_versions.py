"""A rolling update: nodes of the version before, with heartbeats, and of this one, with leases, on one database."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.older_version import VERSION_BEFORE, unpack
from tests.support.server import Server
from tests.support.steps import done, hold, tokens
from tests.support.upstream import ScriptedUpstream
from tests.support.waiting import wait_until

from .conftest import NewUser, StartNode

pytestmark = pytest.mark.slow
AGE_S = 2
SETTINGS = {"ABANDONED_AFTER_SECONDS": str(AGE_S), "CHECKPOINT_SECONDS": "0.2"}


@pytest.fixture(scope="module")
def version_before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The code of the version before, from the history of this repository."""
    return unpack(VERSION_BEFORE, tmp_path_factory.mktemp("before"))


@pytest.fixture
def both(start_node: StartNode, version_before: Path) -> Iterator[tuple[Server, Server]]:
    with start_node(folder=version_before, **SETTINGS) as before, start_node(**SETTINGS) as now:
        yield before, now


def test_neither_version_takes_the_other_s_replies_for_abandoned(
    both: tuple[Server, Server], new_user: NewUser, upstream: ScriptedUpstream
) -> None:
    gate = upstream.gate()
    upstream.script(tokens("before"), hold(gate), tokens(" and after"), done(), when="wait")
    readers = []
    for node, other in (both, both[::-1]):
        user = new_user(node)
        conversation = user.create_conversation()
        stream = user.send(conversation, "wait")
        stream.read_until("before")
        readers += [stream, user.at(other.port).follow(conversation, stream.message_id)]
    # The time after which either version would mark them.
    time.sleep(3 * AGE_S)
    gate.open()
    assert {(reader.finish()["status"], reader.text) for reader in readers} == {("complete", "before and after")}


@pytest.mark.parametrize("first", [0, 1], ids=["begun before", "begun now"])
def test_a_stop_reaches_the_other_version(
    both: tuple[Server, Server], new_user: NewUser, upstream: ScriptedUpstream, first: int
) -> None:
    gate = upstream.gate()
    upstream.script(tokens("before"), hold(gate), when="wait")
    user = new_user(both[first])
    conversation = user.create_conversation()
    stream = user.send(conversation, "wait")
    stream.read_until("before")
    assert user.at(both[1 - first].port).request("POST", f"/api/conversations/{conversation}/stop").status == 200
    assert stream.finish()["status"] == "stopped"


def test_this_version_takes_over_from_a_killed_worker_of_the_version_before(
    both: tuple[Server, Server], new_user: NewUser, upstream: ScriptedUpstream
) -> None:
    gate = upstream.gate()
    upstream.script(tokens("before"), hold(gate), when="wait")
    user = new_user(both[0])
    conversation = user.create_conversation()
    stream = user.send(conversation, "wait")
    stream.read_until("before")
    for worker in both[0].workers():
        os.kill(worker, signal.SIGKILL)
    elsewhere = user.at(both[1].port)
    wait_until(lambda: elsewhere.message(conversation, stream.message_id)["status"] == "interrupted", "it is interrupted")


def test_changes_at_the_version_before_are_told(both: tuple[Server, Server], new_user: NewUser) -> None:
    before, now = both
    user = new_user(now)
    since = user.get("/api/changes")["next"]
    elsewhere = user.at(before.port)
    kept, deleted = elsewhere.create_conversation(), elsewhere.create_conversation()
    elsewhere.send(kept, "first").finish()
    elsewhere.request("PATCH", f"/api/conversations/{kept}", {"title": "renamed"})
    elsewhere.request("DELETE", f"/api/conversations/{deleted}")
    told = user.get(f"/api/changes?since={since}")
    assert [(item["id"], item["title"], item["running_message_id"]) for item in told["conversations"]] == [
        (kept, "renamed", None)
    ]
    assert told["deleted"] == [deleted]
