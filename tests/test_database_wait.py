"""What a worker waits with for PostgreSQL."""

from collections.abc import Iterator

import gevent
import psycopg
import psycopg.waiting
import pytest

from gunicorn_worker.waiting import database_wait


@pytest.fixture
def connection(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[psycopg.Connection]:
    monkeypatch.setattr(psycopg.waiting, "wait", database_wait(psycopg.waiting.wait))
    with psycopg.connect(database_url, autocommit=True) as opened:
        yield opened


def test_other_greenlets_run_during_a_query(connection: psycopg.Connection) -> None:
    order: list[str] = []
    other = gevent.spawn(order.append, "other")
    connection.execute("SELECT pg_sleep(0.1)")
    order.append("query")
    other.join()
    assert order == ["other", "query"]


def test_a_statement_that_fills_the_socket_is_sent_whole(connection: psycopg.Connection) -> None:
    text = "word " * 2_000_000
    assert connection.execute("SELECT %s::text", [text]).fetchone() == (text,)


def test_the_statements_of_a_pipeline_are_answered(connection: psycopg.Connection) -> None:
    with connection.pipeline():
        cursors = [connection.execute("SELECT %s::int", [number]) for number in range(3)]
    assert [cursor.fetchall() for cursor in cursors] == [[(0,)], [(1,)], [(2,)]]


def test_a_session_that_ends_during_a_query_is_a_failure(connection: psycopg.Connection) -> None:
    with pytest.raises(psycopg.OperationalError):
        connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")


def test_a_wait_with_a_time_limit_ends(connection: psycopg.Connection) -> None:
    assert list(connection.notifies(timeout=0.01)) == []
