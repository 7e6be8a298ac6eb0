"""What keeps workers from writing makes nobody call them dead, and a real death is known."""

import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
import pytest

from devstack.postgres import PostgresServer
from tests.support.client import Client, Stream
from tests.support.database import frozen
from tests.support.server import Server
from tests.support.steps import done, hold, tokens
from tests.support.upstream import ScriptedUpstream
from tests.support.waiting import wait_until

from .conftest import NewUser, StartNode

pytestmark = pytest.mark.slow
AGE_S = 2
REPLIES = 4


@pytest.fixture(scope="module")
def nodes(start_node: StartNode) -> Iterator[tuple[Server, Server]]:
    settings = {"ABANDONED_AFTER_SECONDS": str(AGE_S), "CHECKPOINT_SECONDS": "0.2"}
    with start_node(**settings) as node, start_node(**settings) as other:
        yield node, other


@contextmanager
def locked(postgres: PostgresServer, statement: str, *values: object) -> Iterator[None]:
    """Hold what a statement locks for twice the time after which a silent worker counts as dead."""
    with psycopg.connect(postgres.url()) as holder:
        holder.execute(statement, values)
        yield
        # The time itself is what is tried.
        time.sleep(2 * AGE_S)


@contextmanager
def paused(postgres: PostgresServer) -> Iterator[None]:
    """Stop all processes of PostgreSQL for as long."""
    with frozen(postgres):
        yield
        time.sleep(2 * AGE_S)


def begin_replies(user: Client) -> list[tuple[str, Stream]]:
    begun = []
    for _ in range(REPLIES):
        conversation = user.create_conversation()
        stream = user.send(conversation, "wait")
        stream.read_until("before")
        begun.append((conversation, stream))
    return begun


def marked(postgres: PostgresServer) -> int:
    with postgres.connect() as connection:
        row = connection.execute("SELECT count(*) FROM messages WHERE status = 'interrupted'").fetchone()
        return int(row[0]) if row else -1


def assert_nobody_marked(
    nodes: tuple[Server, Server],
    new_user: NewUser,
    postgres: PostgresServer,
    upstream: ScriptedUpstream,
    trouble: Callable[[], object],
) -> None:
    """Let replies run at both nodes during some trouble, and see that they are whole for everyone who reads them."""
    gate = upstream.gate()
    upstream.script(tokens("before"), hold(gate), tokens(" and after"), done(), when="wait")
    before = marked(postgres)
    readers = []
    for node, other in (nodes, nodes[::-1]):
        user = new_user(node)
        for conversation, stream in begin_replies(user):
            readers += [stream, user.at(other.port).follow(conversation, stream.message_id)]
    with trouble():  # type: ignore[attr-defined]
        pass
    # Long enough for a mark by a worker that was waiting.
    time.sleep(1.5 * AGE_S)
    assert marked(postgres) == before
    gate.open()
    assert {(reader.finish()["status"], reader.text) for reader in readers} == {("complete", "before and after")}
    assert marked(postgres) == before


def test_a_lock_on_messages_marks_no_reply(
    nodes: tuple[Server, Server], new_user: NewUser, postgres: PostgresServer, upstream: ScriptedUpstream
) -> None:
    lock = "LOCK TABLE messages IN SHARE MODE"
    assert_nobody_marked(nodes, new_user, postgres, upstream, lambda: locked(postgres, lock))


def test_a_lock_on_workers_marks_no_reply(
    nodes: tuple[Server, Server], new_user: NewUser, postgres: PostgresServer, upstream: ScriptedUpstream
) -> None:
    lock = "LOCK TABLE workers IN SHARE MODE"
    assert_nobody_marked(nodes, new_user, postgres, upstream, lambda: locked(postgres, lock))


def test_a_paused_database_marks_no_reply(
    nodes: tuple[Server, Server], new_user: NewUser, postgres: PostgresServer, upstream: ScriptedUpstream
) -> None:
    assert_nobody_marked(nodes, new_user, postgres, upstream, lambda: paused(postgres))


def test_one_locked_reply_keeps_no_other_from_being_saved(
    nodes: tuple[Server, Server], new_user: NewUser, postgres: PostgresServer, upstream: ScriptedUpstream
) -> None:
    first, second = upstream.gate(), upstream.gate()
    upstream.script(tokens("before"), hold(first), tokens(" and after"), hold(second), done(), when="wait")
    user = new_user(nodes[0])
    (conversation, one), *others = begin_replies(user)

    def content(conversation: str, stream: Stream) -> str:
        return str(user.at(nodes[1].port).message(conversation, stream.message_id)["content"])

    with psycopg.connect(postgres.url()) as holder:
        holder.execute("SELECT FROM messages WHERE id = %s FOR UPDATE", [one.message_id])
        first.open()
        for other in others:
            wait_until(lambda other=other: content(*other) == "before and after", "the text is saved")  # type: ignore[misc]
    wait_until(lambda: content(conversation, one) == "before and after", "the row that was locked is saved, too")
    second.open()
    assert {stream.finish()["status"] for _, stream in [(conversation, one), *others]} == {"complete"}


def test_a_killed_worker_of_another_machine_is_known_by_its_free_lock(
    start_node: StartNode, new_user: NewUser, postgres: PostgresServer, upstream: ScriptedUpstream
) -> None:
    gate = upstream.gate()
    upstream.script(tokens("before"), hold(gate), when="wait")
    with start_node() as survivor, start_node() as node:
        user = new_user(node)
        conversation = user.create_conversation()
        stream = user.send(conversation, "wait")
        stream.read_until("before")
        [worker] = node.workers()
        with postgres.connect() as connection:
            wait_until(
                lambda: (
                    connection.execute(
                        "UPDATE workers SET host = 'another machine' WHERE pid = %s AND lock_server IS NOT NULL", [worker]
                    ).rowcount
                ),
                "the worker has its lock",
            )
            connection.commit()
        os.kill(worker, signal.SIGKILL)
        elsewhere = user.at(survivor.port)
        # Less than the 30 s after which a lease alone is enough.
        wait_until(
            lambda: elsewhere.message(conversation, stream.message_id)["status"] == "interrupted", "it is interrupted", 20
        )


def test_no_clock_but_the_reader_s_own_judges_a_worker() -> None:
    from conversations.services.replies import leases

    for sql in (leases.RENEW_SQL, leases.READ_SQL, leases.FORGET_SQL):
        assert not re.search(r"now\(|timestamp|interval|current_", sql.replace("pg_postmaster_start_time", ""))
