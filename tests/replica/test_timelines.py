"""A standby that did not follow the primary through a fail-over is not read, whatever its position in the log is."""

from collections.abc import Iterator

import psycopg
import pytest

from devstack.postgres import PostgresServer, temporary_postgres
from tests.replica.conftest import StartNode, reading
from tests.replica.standby import Marks, Pair
from tests.support.auth import make_token
from tests.support.client import Client
from tests.support.waiting import wait_until


@pytest.fixture
def new_primary(pair: Pair) -> Iterator[PostgresServer]:
    """A second standby, which is promoted, while the first one goes on following the old primary."""
    with temporary_postgres(copy_of=pair.primary) as server:
        server.promote()
        yield server


def test_a_standby_of_the_old_primary_is_not_read(
    pair: Pair, marks: Marks, new_primary: PostgresServer, start_node: StartNode
) -> None:
    # The old timeline gets further than the new one will.
    pair.write("SELECT pg_switch_wal()")
    pair.write("INSERT INTO conversations (title) VALUES ('a ghost')")
    with start_node(database_url=new_primary.url()) as node:
        client = Client(node.port, make_token())
        client.create_conversation(title="on the new timeline")
        with pair.standby.connect() as standby:
            wait_until_looked_at(standby, times=3)
        marks.expire()
        assert [one["title"] for one in client.get("/api/conversations")["items"]] == ["on the new timeline"]
        client.close()
    assert "reading from the replica" not in node.log


def test_a_promoted_replica_is_not_read(pair: Pair, marks: Marks, start_node: StartNode) -> None:
    with start_node() as node:
        client = Client(reading(node).port, make_token())
        conversation = client.create_conversation(title="before")
        pair.wait_for_standby()
        marks.expire()
        pair.standby.promote()
        pair.write("UPDATE conversations SET title = 'after' WHERE id = %s", conversation)
        assert [one["title"] for one in client.get("/api/conversations")["items"]] == ["after"]
        client.close()


def test_a_standby_that_followed_the_new_primary_is_read_after_its_restart_point(
    pair: Pair, marks: Marks, start_node: StartNode
) -> None:
    with temporary_postgres(copy_of=pair.primary) as primary, temporary_postgres(copy_of=pair.primary) as standby:
        with standby.connect() as connection:
            connection.execute(f"ALTER SYSTEM SET primary_conninfo = 'host={primary.host} user=postgres'")
            connection.execute("SELECT pg_reload_conf()")
        primary.promote()
        with start_node(database_url=primary.url(), DATABASE_REPLICA_URL=standby.url()) as node:
            Pair(primary, standby).wait_for_standby()
            with standby.connect() as connection:
                wait_until_looked_at(connection, times=3)
            assert "reading from the replica" not in node.log
            # PostgreSQL does both by itself, every `checkpoint_timeout`.
            for server in (primary, standby):
                Pair(primary, standby).wait_for_standby()
                with server.connect() as connection:
                    connection.execute("CHECKPOINT")
            reading(node)


def wait_until_looked_at(standby: "psycopg.Connection[tuple[object, ...]]", times: int) -> None:
    """Wait until a node has asked a standby so many times how far it is."""
    asked = "SELECT query_start FROM pg_stat_activity WHERE query LIKE '%%pg_last_wal_replay_lsn%%' AND pid <> pg_backend_pid()"
    seen: set[object] = set()

    def is_enough() -> bool:
        seen.update(start for (start,) in standby.execute(asked).fetchall())
        return len(seen) >= times

    wait_until(is_enough, "the node has looked at the replica")
