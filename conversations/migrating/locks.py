"""Lock tables that are in use, for migrations that change them.

Principle: the migration waits, and other requests don't. While a statement waits for a lock, all later requests for conflicting
locks wait behind it. So a migration requests all its locks at its beginning, gives up after a fraction of a second, lets the
others run, and tries again.

It locks `messages` before `conversations`, like an insert, which locks `messages` and then `conversations` for its foreign key.
A send locks them in the opposite order. This does not deadlock, because the migration gives up before PostgreSQL looks for
deadlocks.
"""

import time
from collections.abc import Callable
from typing import Any

from django.core.management import CommandError
from django.db import OperationalError, migrations, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.state import ProjectState

from chatapi.database.failures import is_lock_timeout

CHAT_TABLES = ("messages", "conversations")
# How long other requests may wait behind one attempt in total.
ATTEMPT_MS = 500
PAUSE_S = 0.5
PATIENCE_S = 60.0

# The waits for all tables add up, because the earlier ones stay locked. The sum must stay below `deadlock_timeout`.
TIMEOUT_SQL = """
SELECT set_config('lock_timeout', greatest(1, least(%s, setting::int / 2) / %s)::text || 'ms', true)
FROM pg_settings WHERE name = 'deadlock_timeout'
"""
HOLDERS_SQL = """
-- PostgreSQL's own processes, such as `autovacuum worker`, have no other name.
SELECT DISTINCT activity.pid, coalesce(nullif(activity.application_name, ''), activity.backend_type),
    extract(epoch FROM clock_timestamp() - activity.xact_start)::int
FROM pg_locks AS held JOIN pg_stat_activity AS activity ON activity.pid = held.pid
WHERE (held.relation = ANY(%(tables)s::regclass[]) OR %(tables)s IS NULL)
  AND held.locktype = 'relation' AND held.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND held.granted AND held.pid <> pg_backend_pid() AND activity.xact_start < clock_timestamp() - interval '1 second'
ORDER BY 3 DESC NULLS LAST LIMIT 5
"""


class TablesInUse(CommandError):
    """Other transactions have locked the tables. The text names them."""


class LockingMigration(migrations.Migration):
    """A migration that locks its tables first, forwards and backwards.

    Use it for every migration that changes `messages` or `conversations`, except by a concurrent index. Name only existing
    tables, `messages` before `conversations`. A statement that does not get the lock of another table ends the attempt too: the
    migration starts again. Choose a weaker `lock_mode` if the statements need no more: for example, SHARE
    ROW EXCLUSIVE for a trigger does not block readers.
    """

    locked_tables: tuple[str, ...] = CHAT_TABLES
    lock_mode = "ACCESS EXCLUSIVE"

    def apply(self, project_state: ProjectState, schema_editor: BaseDatabaseSchemaEditor, collect_sql: bool = False) -> Any:
        # Django changes the state that it is given, and a second attempt starts from the first.
        return self._with_locks(
            schema_editor, lambda: super(LockingMigration, self).apply(project_state.clone(), schema_editor, collect_sql)
        )

    def unapply(self, project_state: ProjectState, schema_editor: BaseDatabaseSchemaEditor, collect_sql: bool = False) -> Any:
        return self._with_locks(
            schema_editor, lambda: super(LockingMigration, self).unapply(project_state, schema_editor, collect_sql)
        )

    def _with_locks(self, schema_editor: BaseDatabaseSchemaEditor, change: Callable[[], Any]) -> Any:
        """Lock the tables and change them. Start again if a later statement does not get its lock."""
        if schema_editor.collect_sql:
            schema_editor.execute(_lock_statement(self.locked_tables, self.lock_mode))
            return change()
        connection = schema_editor.connection
        deferred_sql = list(schema_editor.deferred_sql)
        give_up_at = time.monotonic() + PATIENCE_S
        while True:
            try:
                with transaction.atomic(using=connection.alias):
                    lock_tables(connection, self.locked_tables, self.lock_mode)
                    return change()
            except OperationalError as failure:
                if not is_lock_timeout(failure):
                    raise
                if time.monotonic() >= give_up_at:
                    raise TablesInUse(_refusal(connection, None)) from failure
            schema_editor.deferred_sql = list(deferred_sql)
            time.sleep(PAUSE_S)


def lock_tables(
    connection: BaseDatabaseWrapper, tables: tuple[str, ...], mode: str = "ACCESS EXCLUSIVE", patience_s: float = PATIENCE_S
) -> None:
    """Lock tables, in this order, until the end of the caller's transaction.

    The same lock timeout then applies to later statements of the transaction. Raises `TablesInUse`.
    """
    give_up_at = time.monotonic() + patience_s
    while not _try_to_lock(connection, tables, mode):
        if time.monotonic() >= give_up_at:
            raise TablesInUse(_refusal(connection, tables))
        time.sleep(PAUSE_S)


def _try_to_lock(connection: BaseDatabaseWrapper, tables: tuple[str, ...], mode: str) -> bool:
    try:
        # A savepoint: a failed attempt releases the locks that it got.
        with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
            cursor.execute(TIMEOUT_SQL, [ATTEMPT_MS, len(tables)])
            cursor.execute(_lock_statement(tables, mode))
    except OperationalError as failure:
        if not is_lock_timeout(failure):
            raise
        return False
    return True


def _lock_statement(tables: tuple[str, ...], mode: str) -> str:
    return f"LOCK TABLE {', '.join(tables)} IN {mode} MODE"


def _refusal(connection: BaseDatabaseWrapper, tables: tuple[str, ...] | None) -> str:
    """Say who has locked these tables; without them, any table."""
    with connection.cursor() as cursor:
        cursor.execute(HOLDERS_SQL, {"tables": list(tables) if tables else None})
        holders = [f"process {pid} ({name}, for {age} s)" for pid, name, age in cursor.fetchall()]
    who = f": {', '.join(holders)}" if holders else ""
    which = f"The tables {' and '.join(tables)}" if tables else "Other tables that this migration changes"
    return (
        f"{which} could not be locked, because other transactions use them{who}. "
        "This migration has changed nothing. Wait for those transactions or end them, and run migrate again."
    )
