"""Statements that PostgreSQL plans once per session, and what loses them."""

import logging
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import IntegrityError, OperationalError, connection, transaction

from chatapi.database import statement_names
from chatapi.database.failures import is_database_away
from chatapi.database.round_trips import exchange, run_together
from conversations.models import Conversation
from conversations.tests.factories import make_conversation

pytestmark = pytest.mark.django_db(transaction=True)

READ = "SELECT title FROM conversations WHERE id = %(id)s"
RENAME = "UPDATE conversations SET title = title || %(more)s WHERE id = %(id)s"
NAMES = "SELECT count(*) FROM pg_prepared_statements WHERE name LIKE 'chat_%%'"


@pytest.fixture(autouse=True)
def fresh_session(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(statement_names, "_are_lost", False)
    statement_names._log_once.cache_clear()
    new_session()
    yield
    new_session()


def new_session() -> None:
    """Have the pool lend a session that nothing was sent over."""
    connection.close()
    connection.pool.drain()  # type: ignore[attr-defined]


def session() -> Any:
    assert connection.connection is not None
    return connection.connection


def names_in_postgresql() -> int:
    with connection.cursor() as cursor:
        cursor.execute(NAMES.replace("%%", "%"))
        return int(cursor.fetchone()[0])


def read(conversation: Conversation) -> str:
    return str(run_together((READ, {"id": conversation.id}))[0][0][0])


def test_a_statement_has_one_plan_per_session() -> None:
    conversation = make_conversation(title="a")
    for _ in range(3):
        assert read(conversation) == "a"
    assert names_in_postgresql() == 1


def test_a_statement_may_come_twice_in_one_exchange() -> None:
    conversation = make_conversation(title="a")
    read(conversation)
    values = {"id": conversation.id, "more": "b"}
    with transaction.atomic():
        run_together((RENAME, values), (RENAME, values), (READ, values), is_last=True)
    assert read(conversation) == "abb"
    assert names_in_postgresql() == 2


def test_values_of_other_types_are_another_statement() -> None:
    for value in (1, 100_000, 2**40, "text", None):
        assert run_together(("SELECT %(value)s", {"value": value}))[0][0][0] == value
    # The first exchange of a session names nothing.
    assert names_in_postgresql() == 3


def test_a_name_outlives_a_rollback_and_one_that_was_never_made_is_not_known() -> None:
    conversation = make_conversation(title="a")
    read(conversation)
    double = "INSERT INTO conversations (id) VALUES (%(id)s)"
    values = {"id": conversation.id, "more": "b"}
    with pytest.raises(IntegrityError), transaction.atomic():
        run_together((READ, values), (double, values), (RENAME, values))
    assert names_in_postgresql() == 2
    with transaction.atomic():
        run_together((READ, values), (RENAME, values), is_last=True)
    assert read(conversation) == "ab"


@pytest.mark.parametrize("command", ["DISCARD ALL", "DEALLOCATE ALL"])
def test_a_lost_name_costs_nothing_at_the_beginning_of_a_transaction(command: str, caplog: pytest.LogCaptureFixture) -> None:
    conversation = make_conversation(title="a")
    values = {"id": conversation.id, "more": "b"}
    for _ in range(2):
        run_together((RENAME, values), (READ, values))
    with connection.cursor() as cursor:
        cursor.execute(command)
    with caplog.at_level(logging.WARNING), transaction.atomic():
        assert run_together((RENAME, values), (READ, values), is_last=True)[1] == [("abbb",)]
    assert read(conversation) == "abbb"
    assert [record.message for record in caplog.records if "prepared statement" in record.message] == caplog.messages
    assert len(caplog.messages) == 1
    # This process names nothing from now on.
    new_session()
    for _ in range(3):
        read(conversation)
    assert names_in_postgresql() == 0


def test_a_name_that_another_client_made_costs_nothing() -> None:
    conversation = make_conversation(title="a")
    read(conversation)
    query, _ = ("SELECT title FROM conversations WHERE id = $1", None)
    name = statement_names._name(query.encode(), (2950,)).decode()
    with connection.cursor() as cursor:
        cursor.execute(f"PREPARE {name} AS SELECT 'theirs'")
    assert read(conversation) == "a"


def test_a_lost_name_in_the_middle_of_a_transaction_undoes_it_and_is_temporary() -> None:
    conversation = make_conversation(title="a")
    values = {"id": conversation.id, "more": "b"}
    for _ in range(2):
        read(conversation)
    with pytest.raises(OperationalError) as failure, transaction.atomic():
        run_together((RENAME, values))
        with connection.cursor() as cursor:
            cursor.execute("DEALLOCATE ALL")
        run_together((READ, values), is_last=True)
    assert is_database_away(failure.value)
    assert read(conversation) == "a"


def test_a_column_may_change_its_type_under_a_plan() -> None:
    everything = "SELECT * FROM changing WHERE id = %(id)s"
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE changing AS SELECT 1 AS id, 'a'::varchar AS text")
    try:
        for _ in range(3):
            assert run_together((everything, {"id": 1})) == [[(1, "a")]]
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE changing ADD COLUMN number int DEFAULT 7, ALTER COLUMN id TYPE bigint")
        assert run_together((everything, {"id": 1})) == [[(1, "a", 7)]]
        with transaction.atomic():
            assert run_together((everything, {"id": 1}), is_last=True) == [[(1, "a", 7)]]
        assert names_in_postgresql() == 1
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP TABLE changing")


def test_a_plan_follows_the_search_path_and_the_role() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE SCHEMA other; CREATE TABLE other.conversations AS SELECT id, 'other' AS title FROM conversations"
        )
    conversation = make_conversation(title="a")
    try:
        for _ in range(2):
            read(conversation)
        with connection.cursor() as cursor:
            cursor.execute("INSERT INTO other.conversations VALUES (%s, 'other')", [conversation.id])
            cursor.execute("SET search_path = other, public")
        assert read(conversation) == "other"
    finally:
        with connection.cursor() as cursor:
            cursor.execute("RESET search_path")
            cursor.execute("DROP SCHEMA other CASCADE")


def test_behind_a_pooler_nothing_is_named(caplog: pytest.LogCaptureFixture) -> None:
    class Process:
        """A session whose server is another process than the one that it was told of."""

        def __init__(self, pgconn: Any) -> None:
            self._pgconn = pgconn
            self.backend_pid = pgconn.backend_pid + 1

        def __getattr__(self, name: str) -> Any:
            return getattr(self._pgconn, name)

    conversation = make_conversation(title="a")
    connection.ensure_connection()
    real = session()
    pooled: Any = type("Pooled", (), {"pgconn": Process(real.pgconn), "__getattr__": lambda self, name: getattr(real, name)})()
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert exchange(pooled, [(READ, {"id": conversation.id})]) == [[("a",)]]
    assert len(caplog.messages) == 1
    assert "pooler" in caplog.messages[0]
    assert names_in_postgresql() == 0


def test_it_can_be_switched_off(settings: Any) -> None:
    settings.DATABASE_PREPARED_STATEMENTS = "false"
    conversation = make_conversation(title="a")
    for _ in range(3):
        read(conversation)
    assert names_in_postgresql() == 0


def test_a_session_keeps_a_bounded_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statement_names, "MOST_NAMES", 5)
    for number in range(10):
        assert run_together((f"SELECT %(value)s::int + {number}", {"value": 1})) == [[(1 + number,)]]
    assert names_in_postgresql() == 5


def test_a_table_that_grows_under_its_sessions_gets_new_plans_without_an_analyze() -> None:
    """The first plans are made for a table of one page, which is read as a whole."""
    add = (
        "INSERT INTO conversations (id, title, user_id) SELECT gen_random_uuid(), 'x', %(user)s FROM generate_series(1, %(n)s)"
    )
    find = "SELECT count(*) FROM conversations WHERE user_id = %(user)s"
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE conversations SET (autovacuum_enabled = false)")
        cursor.execute("ANALYZE conversations")
    user = uuid4()
    with transaction.atomic():
        for _ in range(10):
            run_together((find, {"user": user}))
        assert "Seq Scan" in plan_of(find, user)
        run_together((add, {"user": uuid4(), "n": 5000}))
        for _ in range(2 * statement_names.FIRST_PLANS_KEPT):
            run_together((find, {"user": user}))
        assert "Seq Scan" not in plan_of(find, user)
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE conversations RESET (autovacuum_enabled)")


def plan_of(sql: str, user: UUID) -> str:
    """Return the plan that the session keeps for a statement."""
    name = statement_names._name(sql.replace("%(user)s", "$1").encode(), (2950,)).decode()
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN EXECUTE {name}('{user}')")
        return "\n".join(line for (line,) in cursor.fetchall())
