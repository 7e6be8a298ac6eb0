"""Locking tables for a migration; what happens beside it is in tests/adopting/test_live_migrations.py."""

import psycopg
import pytest
from django.db import connection, migrations, transaction
from django.db.migrations.state import ProjectState

from conversations.migrating import locks
from conversations.migrating.locks import CHAT_TABLES, LockingMigration, TablesInUse, lock_tables
from conversations.models import Conversation

pytestmark = pytest.mark.django_db(transaction=True)
HELD_SQL = """
SELECT relation::regclass::text, mode FROM pg_locks
WHERE pid = pg_backend_pid() AND relation IN ('messages'::regclass, 'conversations'::regclass) AND mode LIKE '%Exclusive%'
"""


def connect(name: str) -> "psycopg.Connection":
    values = connection.get_connection_params()
    wanted = {key: values[key] for key in ("dbname", "user", "password", "host", "port") if values.get(key)}
    return psycopg.connect(**wanted, application_name=name)


def test_both_tables_are_locked_until_the_end_of_the_transaction() -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        lock_tables(connection, CHAT_TABLES)
        cursor.execute(HELD_SQL)
        assert {table for table, mode in cursor.fetchall() if mode == "AccessExclusiveLock"} == set(CHAT_TABLES)
    with connection.cursor() as cursor:
        cursor.execute(HELD_SQL)
        assert cursor.fetchall() == []


def test_who_holds_a_table_for_too_long_is_named() -> None:
    with connect("a-long-dump") as reader:
        reader.execute("SELECT count(*) FROM conversations")
        with pytest.raises(TablesInUse, match=r"process \d+ \(a-long-dump, for \d+ s\)"), transaction.atomic():
            lock_tables(connection, CHAT_TABLES, patience_s=1.5)
        # `messages` is free again: the attempt gave it back.
        assert reader.execute("SELECT count(*) FROM messages").fetchone() == (0,)
    assert Conversation.objects.count() == 0


def test_an_attempt_that_failed_leaves_the_transaction_usable() -> None:
    with transaction.atomic():
        with connect("a-long-dump") as reader:
            reader.execute("SELECT count(*) FROM messages")
            with pytest.raises(TablesInUse):
                lock_tables(connection, CHAT_TABLES, patience_s=0)
        lock_tables(connection, CHAT_TABLES)


class MarksAssistants(LockingMigration):
    """It changes a table that it does not name."""

    locked_tables = ("messages",)
    operations = (migrations.RunSQL("COMMENT ON TABLE assistants IS 'marked'", "COMMENT ON TABLE assistants IS NULL"),)


def migrate(direction: str) -> None:
    with connection.schema_editor() as editor:
        getattr(MarksAssistants("marks", "conversations"), direction)(ProjectState(), editor)


def comment_of_assistants() -> str | None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT obj_description('assistants'::regclass)")
        return cursor.fetchone()[0]


@pytest.mark.parametrize(("direction", "comment"), [("apply", "marked"), ("unapply", None)])
def test_it_starts_again_if_another_table_is_in_use(
    direction: str, comment: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses = []
    if direction == "unapply":
        migrate("apply")
    with connect("a-vacuum") as vacuum:

        def pause(seconds: float) -> None:
            # Meanwhile others can use the tables that the attempt had locked.
            pauses.append(vacuum.execute("SELECT count(*) FROM messages").fetchone())
            vacuum.rollback()

        monkeypatch.setattr(locks.time, "sleep", pause)
        vacuum.execute("LOCK TABLE assistants IN SHARE UPDATE EXCLUSIVE MODE")
        migrate(direction)
    assert pauses == [(0,)]
    assert comment_of_assistants() == comment


def test_who_holds_another_table_for_too_long_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "PATIENCE_S", 1.5)
    with connect("a-vacuum") as vacuum:
        vacuum.execute("LOCK TABLE assistants IN SHARE UPDATE EXCLUSIVE MODE")
        with pytest.raises(TablesInUse, match=r"^Other tables .* process \d+ \(a-vacuum, for \d+ s\)"):
            migrate("apply")
    assert comment_of_assistants() is None
