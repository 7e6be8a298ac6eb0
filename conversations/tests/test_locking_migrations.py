"""Locking tables for a migration; what happens beside it is in tests/adopting/test_live_migrations.py."""

import psycopg
import pytest
from django.db import connection, transaction

from conversations.migrating.locks import CHAT_TABLES, TablesInUse, lock_tables
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
