"""Replies are saved over connections of their own, whatever requests do with theirs."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import psycopg
import pytest

from tests.conftest import StartServer
from tests.support.client import Answer, Client
from tests.support.server import Server
from tests.support.steps import done, hold, tokens
from tests.support.upstream import ScriptedUpstream
from tests.support.waiting import wait_until

BLOCKED_SQL = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"


@pytest.fixture(scope="module")
def service(new_server: StartServer) -> Iterator[Server]:
    with new_server(DB_POOL_SIZE="2", CHECKPOINT_SECONDS="0.1") as server:
        yield server


def test_requests_that_hold_every_connection_stop_neither_checkpoints_nor_ends(
    client: Client, conversation: str, upstream: ScriptedUpstream, database_url: str
) -> None:
    first, second = upstream.gate(), upstream.gate()
    upstream.script(tokens("so far"), hold(first), tokens(" and on"), hold(second), tokens(" to the end"), done())
    stream = client.send(conversation, "go on")
    stream.read_until("so far")
    with all_connections_held(client, database_url), psycopg.connect(database_url, autocommit=True) as database:
        stored = "SELECT status, content FROM messages WHERE id = %s"
        first.open()
        wait_until(
            lambda: database.execute(stored, [stream.message_id]).fetchone() == ("streaming", "so far and on"), "a checkpoint"
        )
        second.open()
        assert (stream.finish()["status"], stream.text) == ("complete", "so far and on to the end")
        assert database.execute(stored, [stream.message_id]).fetchone() == ("complete", stream.text)


@pytest.mark.slow
def test_a_forgotten_lock_does_not_take_the_service_down(client: Client, service: Server, database_url: str) -> None:
    """Those that wait for it give up before those that wait for their connections."""
    with all_connections_held(client, database_url):
        assert client.request("GET", "/api/conversations").status == 200
        # The first to give up frees the connection of this answer. The other one may still get the lock when it is released.
        wait_until(lambda: 503 in [line.get("status") for line in service.log_lines()], "one of them gave up")


@contextmanager
def all_connections_held(client: Client, database_url: str) -> Iterator[None]:
    """Have as many requests wait for a lock as the pool has connections, and see that they are answered afterwards."""
    with psycopg.connect(database_url) as operator, ThreadPoolExecutor(2) as threads:
        operator.execute("LOCK TABLE assistants IN ACCESS EXCLUSIVE MODE")
        held = [threads.submit(client.request, "GET", "/api/assistants") for _ in range(2)]
        wait_until(lambda: operator.execute(BLOCKED_SQL).fetchone() == (2,), "both requests wait for the lock")
        try:
            yield
        finally:
            operator.rollback()
        answers: list[Answer] = [request.result() for request in held]
        # One that waited for the lock longer than a session may is refused.
        assert {answer.status for answer in answers} <= {200, 503}
