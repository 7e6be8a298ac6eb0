"""What tells an absent database from an error, and connections apart from those of requests."""

from collections.abc import Iterator
from typing import Any

import django.db
import psycopg
import pytest
from django.db import connection, connections
from psycopg_pool import PoolTimeout

from chatapi.database import pools as database
from chatapi.database.failures import is_database_away, is_outcome_unknown
from chatapi.database.pools import SeparatePool

TIMEOUT_S = 2.0


@pytest.fixture
def separate(transactional_db: None) -> Iterator[SeparatePool]:
    pool = SeparatePool("separate", size=2, timeout_s=TIMEOUT_S)
    yield pool
    pool.close()


AWAY = [
    "25006",  # read-only: a standby, or a primary whose disk is full
    "53100",  # disk full
    "53300",  # too many connections
    "57P01",  # an administrator ends the connection
    "57P02",
    "57P03",  # it starts up
    "08006",
    "40001",  # serialization failure
    "40P01",  # deadlock
]
ERRORS = ["23505", "23503", "22021", "22P05", "42P01", "42601", "25P02", "XX000"]


def failure_of(state: str) -> psycopg.Error:
    return psycopg.errors.lookup(state)("said the server")


def as_django_raises(failure: psycopg.Error) -> Exception:
    """Raise it through Django's own translation, which chooses the class."""
    with pytest.raises(django.db.Error) as caught, connection.wrap_database_errors:
        raise failure
    return caught.value


@pytest.mark.parametrize("state", AWAY)
def test_a_database_that_cannot_work_now_is_away(state: str) -> None:
    assert is_database_away(failure_of(state))
    assert is_database_away(as_django_raises(failure_of(state)))


@pytest.mark.parametrize("state", ERRORS)
def test_an_error_stays_an_error(state: str) -> None:
    assert not is_database_away(failure_of(state))
    assert not is_database_away(as_django_raises(failure_of(state)))


@pytest.mark.parametrize("kind", [psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout])
def test_a_database_that_was_not_reached_is_away(kind: type[psycopg.Error]) -> None:
    assert is_database_away(kind("no connection"))
    assert is_database_away(as_django_raises(kind("no connection")))


@pytest.mark.parametrize(
    ("failure", "is_unknown"),
    [
        (psycopg.OperationalError("server closed the connection"), True),
        (psycopg.errors.lookup("57P01")("terminating connection"), True),
        (psycopg.errors.lookup("08006")("connection failure"), True),
        (psycopg.errors.lookup("25006")("read-only"), False),
        (psycopg.errors.lookup("40P01")("deadlock"), False),
        (psycopg.DataError("x"), False),
    ],
)
def test_only_a_lost_connection_leaves_open_whether_a_commit_succeeded(failure: psycopg.Error, is_unknown: bool) -> None:
    assert is_outcome_unknown(as_django_raises(failure)) == is_unknown


@pytest.mark.parametrize("failure", [ValueError("x"), psycopg.DataError("x"), psycopg.ProgrammingError("x")])
def test_other_failures_are_none_of_its_business(failure: Exception) -> None:
    assert not is_database_away(failure)


def test_a_separate_pool_has_its_own_connections_to_the_same_database(separate: SeparatePool) -> None:
    sql = "SELECT pg_backend_pid(), current_database(), current_setting('TimeZone')"
    with connection.cursor() as cursor:
        cursor.execute(sql)
        theirs = cursor.fetchone()
    with separate.cursor() as one, separate.cursor() as two:
        ours = [(cursor.execute(sql), cursor.fetchone())[1] for cursor in (one, two)]
        with pytest.raises(PoolTimeout), separate.cursor():
            pass
    assert len({theirs[0], *(row[0] for row in ours)}) == 3
    assert {row[1:] for row in ours} == {theirs[1:]}
    assert set(connections) == {"default"}


def test_a_separate_pool_saves_each_statement(separate: SeparatePool) -> None:
    with separate.cursor() as cursor:
        cursor.execute("CREATE TABLE scratch (n int)")
    try:
        with pytest.raises(psycopg.ProgrammingError), separate.cursor() as cursor:
            cursor.execute("INSERT INTO scratch VALUES (1)")
            cursor.execute("not SQL")
        with connection.cursor() as cursor:
            cursor.execute("SELECT n FROM scratch")
            assert cursor.fetchall() == [(1,)]
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP TABLE scratch")


def test_a_separate_pool_gives_up_a_session_that_is_read_only(separate: SeparatePool) -> None:
    for cursor in both(separate):
        cursor.execute("SET default_transaction_read_only = on")
    for _ in range(2):
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction), separate.cursor() as cursor:
            cursor.execute("UPDATE messages SET content = ''")
    for cursor in both(separate):
        cursor.execute("UPDATE messages SET content = ''")


def test_a_connection_that_has_just_answered_is_not_asked_again(
    separate: SeparatePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(database, "_simple_check", asked.append)
    for _ in range(5):
        use(separate)
    # The pool has two connections.
    assert 1 <= len(asked) == len(set(asked)) <= 2
    asked.clear()
    monkeypatch.setattr(database, "SURE_FOR_S", 0.0)
    use(separate)
    use(separate)
    assert len(asked) == 2


def test_a_connection_that_the_server_has_closed_is_not_used(separate: SeparatePool) -> None:
    with separate.cursor() as cursor:
        ended = pid_of(cursor)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [ended])
        assert cursor.fetchone() == (True,)
    with separate.cursor() as cursor:
        assert pid_of(cursor) != ended


def use(pool: SeparatePool) -> None:
    with pool.cursor() as cursor:
        cursor.execute("SELECT 1")


def pid_of(cursor: Any) -> int:
    cursor.execute("SELECT pg_backend_pid()")
    return int(cursor.fetchone()[0])


def both(pool: SeparatePool) -> Iterator[Any]:
    with pool.cursor() as one, pool.cursor() as two:
        yield from (one, two)


def test_a_pool_lends_the_connection_that_came_back_last(separate: SeparatePool) -> None:
    """Its plans are made, and what it works with is in the processor's caches."""
    with separate.cursor() as first, separate.cursor() as second:
        processes = {cursor.execute("SELECT pg_backend_pid()").fetchone() for cursor in (first, second)}
    assert len(processes) == 2
    used = {separate.run(("SELECT pg_backend_pid()", {}))[0][0] for _ in range(6)}
    assert len(used) == 1


def test_an_exchange_counts_as_an_answer(separate: SeparatePool, monkeypatch: pytest.MonkeyPatch) -> None:
    separate.run(("SELECT 1", {}))
    asked: list[Any] = []
    monkeypatch.setattr(database, "_simple_check", asked.append)
    monkeypatch.setattr(database, "SURE_FOR_S", 60.0)
    separate.run(("SELECT 1", {}))
    assert asked == []
    monkeypatch.setattr(database, "SURE_FOR_S", -1.0)
    separate.run(("SELECT 1", {}))
    assert len(asked) == 1
