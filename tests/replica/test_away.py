"""A replica that is behind, away or cancels queries is never an error: the primary answers."""

from collections.abc import Iterator

import pytest

from tests.replica.conftest import StartNode, reading
from tests.replica.standby import Marks, Pair
from tests.support.client import Client
from tests.support.database import frozen, start_command
from tests.support.parallel import at_once
from tests.support.server import Server
from tests.support.waiting import wait_until

TOKEN = "a-token-for-the-metrics-of-the-replica"


@pytest.fixture(scope="module")
def service(start_node: StartNode) -> Iterator[Server]:
    with start_node(DATABASE_REPLICA_MAX_LAG="2") as node:
        yield reading(node)


def titles(client: Client) -> list[str]:
    return [one["title"] for one in client.get("/api/conversations")["items"]]


def lag_s(service: Server) -> float:
    answer = Client(service.port, TOKEN).request("GET", "/metrics")
    (line,) = [line for line in answer.content.decode().splitlines() if line.startswith("chat_replica_lag_seconds ")]
    return float(line.split()[1])


def test_a_replica_that_is_too_far_behind_is_not_read(pair: Pair, marks: Marks, client: Client, service: Server) -> None:
    conversation = client.create_conversation(title="before")
    marks.expire()
    with pair.replay_stopped():
        pair.write("UPDATE conversations SET title = 'after' WHERE id = %s", conversation)
        wait_until(lambda: titles(client) == ["after"], "the primary answers")
        # It stays so, and the metric grows.
        wait_until(lambda: lag_s(service) > 4, "the metric shows the lag")
        assert titles(client) == ["after"]
        assert client.get("/api/ready")["ready"]
    wait_until(lambda: lag_s(service) < 2, "the metric shows that the replica has caught up")


def test_a_lost_replica_is_no_error_and_is_read_again_when_it_is_back(
    pair: Pair, marks: Marks, client: Client, service: Server
) -> None:
    conversation = client.create_conversation(title="before")
    pair.wait_for_standby()
    wait_until(lambda: lag_s(service) < 2, "the replica can be read")
    marks.expire()
    assert titles(client) == ["before"]
    pair.standby.crash()
    for _ in range(10):
        assert titles(client) == ["before"]
        assert client.get("/api/search?q=marmalade")["items"] == []
    wait_until(lambda: lag_s(service) == float("inf"), "the metric shows its absence")
    assert client.get("/api/ready")["ready"]
    assert client.ask(conversation, "and go on").text == "and go on"
    pair.standby.start()
    wait_until(lambda: lag_s(service) < 2, "the replica is read again")
    assert [line["level"] for line in service.log_lines() if line["level"] == "ERROR"] == []


def test_a_frozen_replica_keeps_no_reader_waiting(pair: Pair, marks: Marks, client: Client, service: Server) -> None:
    conversation = client.create_conversation(title="before")
    pair.wait_for_standby()
    wait_until(lambda: lag_s(service) < 2, "the replica can be read")
    marks.expire()
    assert titles(client) == ["before"]
    hasty = Client(service.port, client.token, limit_s=8)
    with frozen(pair.standby):
        assert at_once(lambda _: titles(hasty), 12) == [["before"]] * 12
        wait_until(lambda: lag_s(service) == float("inf"), "the metric shows that it does not answer")
        # Long before it wakes up, no test waits for it any more.
        assert [titles(hasty) for _ in range(20)] == [["before"]] * 20
        assert client.ask(conversation, "and go on").text == "and go on"
    wait_until(lambda: lag_s(service) < 2, "the replica is read again")
    assert [line["level"] for line in service.log_lines() if line["level"] == "ERROR"] == []


READS = """
import sys
from django.db import connection
from chatapi.database.replica import read, watch_replica, _watch
from chatapi.database.recent_writes import ALIVE, marks
import time

marks.mark(ALIVE, None)
watch_replica()
while _watch.needed() is None:
    time.sleep(0.05)


def slow_on_the_replica():
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_is_in_recovery()")
        (is_replica,) = cursor.fetchone()
        print("replica" if is_replica else "primary", flush=True)
        cursor.execute("SELECT title, pg_sleep(%s) FROM conversations", [60 if is_replica else 0])
        return cursor.fetchall()


print(len(read(slow_on_the_replica, reader="user-1")), flush=True)
"""


def test_a_query_of_a_replica_that_freezes_meanwhile_is_repeated_at_the_primary(
    pair: Pair, marks: Marks, cache_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair.write("INSERT INTO conversations (title) VALUES ('one')")
    pair.wait_for_standby()
    marks.expire()
    monkeypatch.setenv("CACHE_URL", cache_url)
    monkeypatch.setenv("DATABASE_REPLICA_URL", pair.standby.url())
    with start_command(pair.primary.url(), "shell", "--no-imports", "-c", READS) as process:
        said = []
        try:
            assert process.stdout
            wait_until(lambda: said.append(process.stdout.readline()) or said[-1] in ("", "replica\n"), "the query has begun")
            with frozen(pair.standby):
                # Less than READS_S and the query itself take.
                rest, problems = process.communicate(timeout=30)
        finally:
            process.kill()
    lines = [line for line in rest.splitlines() if not line.startswith("{")]
    assert lines[0] == "primary", problems
    assert int(lines[1]) > 0


def test_a_query_that_conflicts_with_the_replay_is_repeated_at_the_primary(
    pair: Pair, marks: Marks, cache_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair.write("INSERT INTO conversations (title) VALUES ('one')")
    with pair.standby.connect() as connection:
        connection.execute("ALTER SYSTEM SET max_standby_streaming_delay = '100ms'")
        connection.execute("SELECT pg_reload_conf()")
    pair.wait_for_standby()
    marks.expire()
    monkeypatch.setenv("CACHE_URL", cache_url)
    monkeypatch.setenv("DATABASE_REPLICA_URL", pair.standby.url())
    with start_command(pair.primary.url(), "shell", "--no-imports", "-c", READS) as process:
        said = []
        try:
            assert process.stdout
            # The log goes there, too.
            wait_until(lambda: said.append(process.stdout.readline()) or said[-1] in ("", "replica\n"), "the query has begun")
            with pair.standby.connect() as standby:
                sleeping = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
                wait_until(lambda: standby.execute(sleeping).fetchone() == (1,), "the query runs at the standby")
            # The standby can replay this only if no query holds a lock on the table.
            with pair.primary.connect() as primary, primary.transaction():
                primary.execute("LOCK TABLE conversations IN ACCESS EXCLUSIVE MODE")
            rest, problems = process.communicate(timeout=60)
        finally:
            process.kill()
    lines = [line for line in rest.splitlines() if not line.startswith("{")]
    assert lines[0] == "primary", problems
    assert int(lines[1]) > 0
    assert "SerializationFailure" in rest
