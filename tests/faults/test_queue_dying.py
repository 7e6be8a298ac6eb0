"""Workers that end while messages wait: whatever step they had reached, every message has its turn, once."""

import os
import signal
import uuid

import pytest

from devstack.postgres import PostgresServer
from tests.support.client import Client
from tests.support.server import Server
from tests.support.steps import hold, stall, tokens
from tests.support.upstream import ScriptedUpstream
from tests.support.waiting import wait_until

from .conftest import NewUser, StartNode
from .reading import BROKEN

pytestmark = pytest.mark.slow
QUICK = {"ABANDONED_AFTER_SECONDS": "2"}
LIMIT_S = 40.0

# What the end of a reply leaves if its worker dies right after the commit.
STARTED_SQL = """
WITH queued AS (
    UPDATE queued_messages SET is_started = true, is_held = false WHERE id = %(id)s RETURNING *
)
INSERT INTO messages (id, conversation_id, role, content, status, parent_id, heartbeat_at, worker, created_at)
SELECT id, conversation_id, 'user', content, 'complete', NULL::uuid, NULL::timestamptz, NULL::uuid, now() FROM queued
UNION ALL
SELECT reply_id, conversation_id, 'assistant', '', %(status)s, id, 'infinity', %(worker)s, now() + interval '1 microsecond'
FROM queued
"""


def enqueue(user: Client, conversation: str, content: str) -> dict[str, str]:
    path = f"/api/conversations/{conversation}/messages"
    answer = user.request("POST", path, {"content": content, "when_busy": "enqueue"}, {"Prefer": "respond-async"})
    assert answer.status == 202, answer
    return dict(answer.json)


def said(user: Client, conversation: str) -> list[tuple[str, str]]:
    try:
        return [(message["content"], message["status"]) for message in user.conversation(conversation)["messages"]]
    except BROKEN:
        # Its worker is being replaced.
        return []


def kill_workers(node: Server) -> None:
    for pid in node.workers():
        os.kill(pid, signal.SIGKILL)


def test_another_node_starts_what_waits_behind_a_killed_workers_reply(
    start_node: StartNode, new_user: NewUser, upstream: ScriptedUpstream
) -> None:
    upstream.script(tokens("half"), stall(), when="first")
    with start_node(**QUICK) as survivor, start_node(**QUICK) as node:
        user = new_user(node)
        conversation = user.create_conversation()
        user.send(conversation, "first").read_until("half")
        queued = enqueue(user, conversation, "second")
        third = user.send(conversation, "third", when_busy="enqueue")
        kill_workers(node)
        third.abort()
        elsewhere = user.at(survivor.port)
        assert elsewhere.follow(conversation, third.message_id).finish()["status"] == "complete"
        assert elsewhere.message(conversation, queued["reply_id"])["content"] == "second"
        statuses = [status for _, status in said(elsewhere, conversation)]
        assert statuses == ["complete", "interrupted", "complete", "complete", "complete", "complete"]
        assert len(upstream.generations("second")) == len(upstream.generations("third")) == 1


def test_the_next_worker_of_a_lone_node_starts_it(start_node: StartNode, new_user: NewUser, upstream: ScriptedUpstream) -> None:
    upstream.script(tokens("half"), stall(), when="first")
    with start_node(**QUICK) as node:
        user = new_user(node)
        conversation = user.create_conversation()
        user.send(conversation, "first").read_until("half")
        enqueue(user, conversation, "second")
        kill_workers(node)
        wait_until(lambda: ("second", "complete") in said(user, conversation)[3:], "it has its turn", LIMIT_S)


def test_it_waits_on_while_its_worker_shuts_down(start_node: StartNode, new_user: NewUser, upstream: ScriptedUpstream) -> None:
    upstream.script(tokens("half"), stall(), when="first")
    with start_node(**QUICK) as survivor, start_node("--graceful-timeout", "6", **QUICK) as node:
        user = new_user(node)
        conversation = user.create_conversation()
        user.send(conversation, "first").read_until("half")
        enqueue(user, conversation, "second")
        node.stop()
        elsewhere = user.at(survivor.port)
        wait_until(lambda: ("second", "complete") in said(elsewhere, conversation)[3:], "it has its turn", LIMIT_S)
        assert said(elsewhere, conversation)[1] == ("half", "interrupted")


@pytest.mark.parametrize("status", ["streaming", "interrupted"])
def test_a_reply_that_was_started_and_never_begun_is_taken_over(
    start_node: StartNode, new_user: NewUser, upstream: ScriptedUpstream, postgres: PostgresServer, status: str
) -> None:
    """`interrupted`: a node of the version before has found it first."""
    upstream.script(tokens("half"), hold(upstream.gate()), when="first")
    with start_node(**QUICK) as node:
        user = new_user(node)
        conversation = user.create_conversation()
        user.send(conversation, "first").read_until("half")
        queued = enqueue(user, conversation, "second")
        user.stop(conversation)
        follower = user.follow(conversation, queued["reply_id"])
        with postgres.connect() as connection:
            connection.execute(STARTED_SQL, {"id": queued["id"], "status": status, "worker": uuid.uuid4()})
        assert (follower.finish()["status"], follower.text) == ("complete", "second")
        assert said(user, conversation)[2:] == [("second", "complete"), ("second", "complete")]
        wait_until(lambda: not _rows(postgres, conversation), "nothing is left in the queue")


def test_a_stop_reaches_a_reply_that_was_never_begun(
    start_node: StartNode, new_user: NewUser, upstream: ScriptedUpstream, postgres: PostgresServer
) -> None:
    upstream.script(tokens("half"), hold(upstream.gate()), when="first")
    with start_node(**QUICK) as node:
        user = new_user(node)
        conversation = user.create_conversation()
        user.send(conversation, "first").read_until("half")
        queued = enqueue(user, conversation, "second")
        user.stop(conversation)
        with postgres.connect() as connection:
            connection.execute(STARTED_SQL, {"id": queued["id"], "status": "streaming", "worker": uuid.uuid4()})
        answer = user.stop(conversation)
        assert (answer.json["id"], answer.json["status"]) == (queued["reply_id"], "stopped")
        assert upstream.generations("second") == []


def test_what_an_old_node_ends_is_followed_by_the_next_message(
    start_node: StartNode, new_user: NewUser, upstream: ScriptedUpstream, postgres: PostgresServer
) -> None:
    """An old node saves ends without a look at the queue. So does whoever marks replies by hand."""
    upstream.script(tokens("half"), hold(upstream.gate()), when="first")
    with start_node(**QUICK) as node:
        user = new_user(node)
        conversation = user.create_conversation()
        first = user.send(conversation, "first")
        first.read_until("half")
        enqueue(user, conversation, "second")
        with postgres.connect() as connection:
            connection.execute("UPDATE messages SET status = 'complete' WHERE id::text = %s", [first.message_id])
        wait_until(lambda: ("second", "complete") in said(user, conversation)[3:], "it has its turn", LIMIT_S)


def _rows(postgres: PostgresServer, conversation: str) -> list[tuple[object, ...]]:
    with postgres.connect() as connection:
        return connection.execute("SELECT id FROM queued_messages WHERE conversation_id::text = %s", [conversation]).fetchall()
