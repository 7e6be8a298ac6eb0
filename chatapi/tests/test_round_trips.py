"""Statements that are sent together, and what becomes of their connection when something goes wrong."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from django.db import DataError, IntegrityError, OperationalError, connection, transaction
from psycopg import Connection
from psycopg.pq import Format, PipelineStatus, TransactionStatus

from chatapi.database.round_trips import run_together
from conversations.models import Conversation
from conversations.tests.factories import make_conversation

pytestmark = pytest.mark.django_db(transaction=True)

RENAME = "UPDATE conversations SET title = %(title)s WHERE id = %(id)s"
READ = "SELECT title, %(id)s::uuid, %(title)s::text FROM conversations WHERE id = %(id)s"


@pytest.fixture(autouse=True)
def release() -> Iterator[None]:
    connection.close()
    yield
    connection.close()


@pytest.fixture
def conversation() -> Conversation:
    return make_conversation(title="old")


def session() -> Any:
    assert connection.connection is not None
    return connection.connection


def is_fresh() -> bool:
    """Whether the connection can serve the next request."""
    pgconn = session().pgconn
    return bool(pgconn.pipeline_status == PipelineStatus.OFF and pgconn.transaction_status == TransactionStatus.IDLE)


def test_each_sees_what_those_before_it_did_and_has_its_rows(conversation: Conversation) -> None:
    values = {"id": conversation.id, "title": "new"}
    with transaction.atomic():
        assert run_together((RENAME, values), (READ, values)) == [[], [("new", conversation.id, "new")]]
    assert is_fresh()


def test_a_transaction_begins_and_ends_with_them(conversation: Conversation, monkeypatch: pytest.MonkeyPatch) -> None:
    connection.ensure_connection()
    waits: list[Any] = []
    wait = Connection.wait
    monkeypatch.setattr(Connection, "wait", lambda self, *given, **named: waits.append(given) or wait(self, *given, **named))
    values = {"id": conversation.id, "title": "new"}
    with transaction.atomic():
        waits.clear()  # Django's change to a transaction needs no answer of PostgreSQL's
        run_together((READ, values))
        assert session().pgconn.transaction_status == TransactionStatus.INTRANS
        run_together((RENAME, values), is_last=True)
        assert session().pgconn.transaction_status == TransactionStatus.IDLE
        assert len(waits) == 2
    monkeypatch.undo()
    assert Conversation.objects.get().title == "new"


def test_an_inner_block_commits_nothing(conversation: Conversation) -> None:
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        with transaction.atomic():
            run_together((RENAME, {"id": conversation.id, "title": "new"}), is_last=True)
        raise ZeroDivisionError
    assert Conversation.objects.get().title == "old"


def test_a_failure_is_djangos_and_undoes_them_all(conversation: Conversation) -> None:
    values = {"id": conversation.id, "title": "new"}
    double = "INSERT INTO conversations (id) VALUES (%(id)s)"
    with pytest.raises(IntegrityError) as failure, transaction.atomic():
        run_together((RENAME, values), (double, values), (READ, values), is_last=True)
    assert failure.value.__cause__.diag.constraint_name == "conversations_pkey"  # type: ignore[union-attr]
    assert is_fresh()
    assert Conversation.objects.get().title == "old"


def test_a_value_that_cannot_be_sent_leaves_the_connection_as_it_was(conversation: Conversation) -> None:
    with pytest.raises(DataError), transaction.atomic():
        run_together((RENAME, {"id": conversation.id, "title": "\x00"}))
    assert is_fresh()


def test_more_than_a_socket_takes_at_once() -> None:
    text = "ä" * 8_000_000
    assert run_together(("SELECT %(text)s::text", {"text": text}), ("SELECT length(%(text)s)", {"text": text})) == [
        [(text,)],
        [(len(text),)],
    ]


def test_a_connection_whose_exchange_was_broken_off_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object, **__: object) -> None:
        raise SystemExit

    connection.ensure_connection()
    pool: Any = connection.pool  # type: ignore[attr-defined]
    monkeypatch.setattr(Connection, "wait", stop)
    with pytest.raises(SystemExit):
        run_together(("SELECT 1", {}))
    monkeypatch.undo()
    assert session().closed
    connection.close()
    # The pool makes another one in the background.
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    assert not session().closed
    assert pool.get_stats()["requests_waiting"] == 0


def end_session() -> None:
    """Take a connection from the pool and end its session on the server."""
    connection.ensure_connection()
    other = connection.copy()
    with other.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [session().info.backend_pid])
    other.close()


def test_what_begins_a_transaction_is_repeated_on_another_connection(conversation: Conversation) -> None:
    connection.close()
    with transaction.atomic():
        end_session()
        run_together((RENAME, {"id": conversation.id, "title": "new"}))
    assert Conversation.objects.get().title == "new"


def test_what_ends_with_a_commit_is_not_repeated(conversation: Conversation) -> None:
    connection.close()
    with pytest.raises(OperationalError), transaction.atomic():
        end_session()
        run_together((RENAME, {"id": conversation.id, "title": "new"}), is_last=True)
    assert Conversation.objects.get().title == "old"


def test_what_is_no_part_of_a_transaction_is_not_repeated(conversation: Conversation) -> None:
    connection.close()
    end_session()
    with pytest.raises(OperationalError):
        run_together((RENAME, {"id": conversation.id, "title": "new"}))
    connection.close()
    assert Conversation.objects.get().title == "old"


TIMES = (
    "infinity",
    "-infinity",
    "294276-12-31 23:59:59.999999+00",
    "10000-01-01 00:00:00+00",
    "9999-12-31 23:59:59.999999+00",
    "2024-02-29 12:00:00.5+00",
    "0001-01-01 00:00:00+00",
    "0001-12-31 00:00:00.25+00 BC",
    "4713-01-01 00:00:00+00 BC",
)


def test_rows_are_the_same_in_the_binary_form() -> None:
    values = """
    SELECT time::timestamptz, time::timestamptz AS again, ARRAY[NULL, 'a'], 7::int8, 7::int2, -1.5::float8, true, NULL::uuid,
           id, 'ä'::varchar, ARRAY[ARRAY[id]]
    FROM unnest(%(times)s::text[]) AS time, (SELECT '00000000-0000-4000-8000-000000000001'::uuid AS id) AS one
    """
    connection.ensure_connection()
    # The first one asks whether there is a pooler, the second one names the statement.
    (as_text,), *_ = [run_together((values, {"times": list(TIMES)})) for _ in range(2)]
    (as_binary,) = run_together((values, {"times": list(TIMES)}))
    names = session().statement_names
    assert list(names.formats.values()) == [Format.BINARY]
    assert as_binary == as_text
    assert [row[0].isoformat() for row in as_binary] == [row[0].isoformat() for row in as_text]
    assert [[type(value) for value in row] for row in as_binary] == [[type(value) for value in row] for row in as_text]


def test_what_has_no_safe_binary_form_comes_as_text() -> None:
    connection.ensure_connection()
    rows = [
        run_together(("""SELECT '{"a": 1}'::jsonb, 1.50::numeric, pg_current_xact_id()::text::xid8""", {})) for _ in range(4)
    ]
    assert {(type(row[0]), type(row[1]), type(row[2])) for ((row,),) in rows} == {(str, Decimal, str)}
