"""Webhooks of real servers: two nodes share the work, and what a dead worker had begun comes again."""

import base64
import contextlib
import os
import signal
import threading
import uuid
from collections.abc import Iterator

import psycopg
import pytest

from tests.support.auth import make_token
from tests.support.client import Client
from tests.support.database import migrated_database, run_command
from tests.support.pgbouncer import pgbouncer
from tests.support.receiver import Received, Receiver, running_receiver, status
from tests.support.server import Server
from tests.support.steps import done, tokens
from tests.support.upstream import ScriptedUpstream
from tests.support.waiting import wait_until

SECRET = "whsec_" + base64.b64encode(b"a key of thirty-two bytes for us").decode()


@pytest.fixture(scope="module")
def receiver_of_module() -> Iterator[Receiver]:
    with running_receiver() as running:
        yield running


@pytest.fixture
def receiver(receiver_of_module: Receiver) -> Iterator[Receiver]:
    receiver_of_module.answer = status(204)
    receiver_of_module.received.clear()
    yield receiver_of_module
    receiver_of_module.answer = status(204)


def settings_for(receiver: Receiver) -> dict[str, str]:
    return {"WEBHOOK_URL": receiver.url, "WEBHOOK_SECRET": SECRET, "WEBHOOK_ALLOW_PRIVATE": "true"}


@pytest.fixture(scope="module")
def own_database() -> Iterator[str]:
    """A database of its own: events of other servers' tests must not be noted."""
    with migrated_database() as url:
        yield url


@pytest.fixture(scope="module")
def reached_database(own_database: str) -> Iterator[str]:
    """The database as nodes and commands reach it."""
    if os.environ.get("PGBOUNCER"):
        with pgbouncer(own_database) as url:
            yield url
    else:
        yield own_database


@pytest.fixture(scope="module")
def nodes(
    own_database: str,
    reached_database: str,
    receiver_of_module: Receiver,
    auth_of_session,
    upstream_of_session: ScriptedUpstream,
) -> Iterator[list[Server]]:
    with contextlib.ExitStack() as stack:
        started = [
            stack.enter_context(
                Server(
                    database_url=reached_database,
                    auth_url=auth_of_session.url,
                    upstream_url=upstream_of_session.url,
                    **settings_for(receiver_of_module),
                )
            )
            for _ in range(2)
        ]
        with psycopg.connect(own_database, autocommit=True) as session:
            wait_until(
                lambda: session.execute("SELECT 1 FROM change_era_marks WHERE webhooks_until > now()").fetchone(),
                "events are noted",
            )
        yield started


@pytest.fixture
def database(own_database: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(own_database, autocommit=True) as session:
        yield session


def note(database: psycopg.Connection, count: int) -> set[str]:
    """Put events into the outbox, as the triggers do, and return their ids."""
    rows = database.execute(
        "INSERT INTO webhook_events (kind, data) SELECT 'user.erased', jsonb_build_object('user_id', gen_random_uuid())"
        " FROM generate_series(1, %s) RETURNING id",
        [count],
    ).fetchall()
    return {str(row[0]) for row in rows}


def wait_for_none(database: psycopg.Connection) -> None:
    wait_until(lambda: not database.execute("SELECT 1 FROM webhook_events LIMIT 1").fetchone(), "all is delivered")


def test_a_turn_and_its_deletion_are_told(
    nodes: list[Server], receiver: Receiver, upstream: ScriptedUpstream, database: psycopg.Connection
) -> None:
    upstream.script(tokens("a ", "secret"), done(), when="tell them")
    with contextlib.closing(Client(nodes[0].port, make_token())) as client:
        conversation = client.create_conversation()
        client.send(conversation, "tell them").finish()
        [request] = receiver.wait_for(1)
        assert request.event["type"] == "reply.ended" and request.event["data"]["status"] == "complete"
        assert request.event["data"]["conversation_id"] == conversation
        assert b"secret" not in request.body and b"tell them" not in request.body
        client.request("DELETE", f"/api/conversations/{conversation}")
    told = receiver.wait_for(2)[1]
    assert told.event["type"] == "conversation.deleted" and told.event["data"]["conversation_id"] == conversation
    wait_for_none(database)


def test_two_nodes_deliver_each_event_once(nodes: list[Server], receiver: Receiver, database: psycopg.Connection) -> None:
    expected = note(database, 200)
    receiver.wait_for(200)
    wait_for_none(database)
    assert sorted(request.id for request in receiver.received) == sorted(expected)


def test_what_a_dead_worker_had_begun_comes_again(
    nodes: list[Server], receiver: Receiver, database: psycopg.Connection
) -> None:
    """The worker is killed while the receiver has the request and has not answered."""
    release = threading.Event()

    def hold(request: Received) -> bytes | None:
        if len(receiver.received) == 1:
            for node in nodes:
                for pid in node.workers():
                    os.kill(pid, signal.SIGKILL)
            release.set()
            return None
        return status(204)(request)

    receiver.answer = hold
    [expected] = note(database, 1)
    assert release.wait(30)
    # gunicorn starts other workers. Nobody waits for the lease here.
    database.execute("UPDATE webhook_events SET due_at = now() WHERE attempts > 0")
    receiver.wait_for(2)
    wait_for_none(database)
    assert {request.id for request in receiver.received} == {expected}
    assert uuid.UUID(expected)


def test_the_command_and_the_nodes_share_the_work(
    reached_database: str,
    nodes: list[Server],
    receiver: Receiver,
    database: psycopg.Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in settings_for(receiver).items():
        monkeypatch.setenv(name, value)
    expected = note(database, 100)
    result = run_command(reached_database, "deliver_webhooks", "--json")
    assert result.returncode == 0, result.stderr
    receiver.wait_for(100)
    wait_for_none(database)
    assert sorted(request.id for request in receiver.received) == sorted(expected)
