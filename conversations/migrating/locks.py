"""Locking tables that are in use, for migrations that change them.

Principle: the migration waits, and its bystanders don't. A statement that asks for a lock holds up everybody who comes after
it, for as long as it waits itself. So a migration asks for all its locks at its beginning, gives up after a fraction of a
second, lets those pass who came meanwhile, and asks again.

`messages` comes before `conversations`, as in an insert: it locks `messages`, and then, for its foreign key, `conversations`.
A send locks them the other way round. That is no deadlock, because the migration gives up before PostgreSQL looks for one.
"""

import time
from typing import Any

import psycopg
from django.core.management import CommandError
from django.db import OperationalError, migrations, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.state import ProjectState

CHAT_TABLES = ("messages", "conversations")
# How long others may have to wait behind one attempt, in all.
ATTEMPT_MS = 500
PAUSE_S = 0.5
PATIENCE_S = 60.0

# The last of `tables` waits while those before it are locked; the sum of all waits must stay below `deadlock_timeout`.
TIMEOUT_SQL = """
SELECT set_config('lock_timeout', greatest(1, least(%s, setting::int / 2) / %s)::text || 'ms', true)
FROM pg_settings WHERE name = 'deadlock_timeout'
"""
HOLDERS_SQL = """
SELECT DISTINCT activity.pid, activity.application_name, extract(epoch FROM clock_timestamp() - activity.xact_start)::int
FROM pg_locks AS held JOIN pg_stat_activity AS activity ON activity.pid = held.pid
WHERE held.relation IN (SELECT to_regclass(name) FROM unnest(%s::text[]) AS wanted (name))
  AND held.granted AND held.pid <> pg_backend_pid() AND activity.xact_start < clock_timestamp() - interval '1 second'
ORDER BY 3 DESC NULLS LAST LIMIT 5
"""


class TablesInUse(CommandError):
    """Other transactions hold the tables; the text names them."""


class LockingMigration(migrations.Migration):
    """A migration that locks its tables before anything else, on the way forth and on the way back.

    For every migration that changes `messages` or `conversations` by more than a concurrent index. Name only the tables that
    are there already, `messages` before `conversations`. A weaker `lock_mode` will do where the statements need no more: SHARE
    ROW EXCLUSIVE for a trigger, say, which leaves readers alone.
    """

    locked_tables: tuple[str, ...] = CHAT_TABLES
    lock_mode = "ACCESS EXCLUSIVE"

    def apply(self, project_state: ProjectState, schema_editor: BaseDatabaseSchemaEditor, collect_sql: bool = False) -> Any:
        self._lock(schema_editor)
        return super().apply(project_state, schema_editor, collect_sql)

    def unapply(self, project_state: ProjectState, schema_editor: BaseDatabaseSchemaEditor, collect_sql: bool = False) -> Any:
        self._lock(schema_editor)
        return super().unapply(project_state, schema_editor, collect_sql)

    def _lock(self, schema_editor: BaseDatabaseSchemaEditor) -> None:
        if schema_editor.collect_sql:
            schema_editor.execute(_lock_statement(self.locked_tables, self.lock_mode))
        else:
            lock_tables(schema_editor.connection, self.locked_tables, self.lock_mode)


def lock_tables(
    connection: BaseDatabaseWrapper, tables: tuple[str, ...], mode: str = "ACCESS EXCLUSIVE", patience_s: float = PATIENCE_S
) -> None:
    """Lock tables, in this order, until the end of the caller's transaction.

    Later statements of the transaction don't wait for other locks any longer than this does for its own. Raises `TablesInUse`.
    """
    give_up_at = time.monotonic() + patience_s
    while not _try_to_lock(connection, tables, mode):
        if time.monotonic() >= give_up_at:
            raise TablesInUse(_refusal(connection, tables))
        time.sleep(PAUSE_S)


def _try_to_lock(connection: BaseDatabaseWrapper, tables: tuple[str, ...], mode: str) -> bool:
    try:
        # A savepoint: what was locked before the attempt failed is free again.
        with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
            cursor.execute(TIMEOUT_SQL, [ATTEMPT_MS, len(tables)])
            cursor.execute(_lock_statement(tables, mode))
    except OperationalError as failure:
        if isinstance(failure.__cause__, psycopg.errors.LockNotAvailable):
            return False
        raise
    return True


def _lock_statement(tables: tuple[str, ...], mode: str) -> str:
    return f"LOCK TABLE {', '.join(tables)} IN {mode} MODE"


def _refusal(connection: BaseDatabaseWrapper, tables: tuple[str, ...]) -> str:
    with connection.cursor() as cursor:
        cursor.execute(HOLDERS_SQL, [list(tables)])
        holders = [f"process {pid} ({name or 'unnamed'}, for {age} s)" for pid, name, age in cursor.fetchall()]
    who = f": {', '.join(holders)}" if holders else ""
    return (
        f"The tables {' and '.join(tables)} could not be locked, because other transactions use them{who}. "
        "This migration has changed nothing. Wait for those transactions or end them, and run migrate again."
    )
