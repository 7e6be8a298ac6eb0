"""Checks before `migrate` changes anything. They refuse to drop the history and to take over unknown tables."""

from contextvars import ContextVar
from typing import Any

from django.core.management import CommandError
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

FIRST, ADDITIONS = "0001_initial", "0002_additions"
# The predecessor's columns. Lengths don't matter: no migration depends on them.
COLUMNS = {
    "conversations": {
        "id": "uuid",
        "user_id": "uuid",
        "title": "character varying",
        "model_tag": "character varying",
        "created_at": "timestamp with time zone",
        "updated_at": "timestamp with time zone",
        "is_favorited": "boolean",
    },
    "messages": {
        "id": "uuid",
        "conversation_id": "uuid",
        "role": "character varying",
        "content": "text",
        "token_count": "integer",
        "model_tag": "character varying",
        "inference_time_ms": "integer",
        "created_at": "timestamp with time zone",
    },
}
# Whether `migrate` is to run 0001, and not to record it as done. The signal `pre_migrate` does not say so.
runs_first: ContextVar[bool] = ContextVar("runs_first", default=False)
FOUND_SQL = """
SELECT relname, attname, atttypid::regtype::text, pg_has_role(relowner, 'USAGE')
FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid
WHERE pg_class.oid IN (SELECT to_regclass(name) FROM unnest(%s::text[]) AS wanted (name)) AND attnum > 0 AND NOT attisdropped
"""


DATABASE_SQL = """
SELECT current_setting('server_encoding'), current_schema(),
       current_schema() IS NOT NULL AND has_schema_privilege(current_schema(), 'CREATE')
"""


class MigrationRefused(CommandError):
    """`migrate` must not continue. The text says why and what to do. Nothing was changed."""


def check_plan(*, using: str, plan: list[tuple[Any, bool]], **_: object) -> None:
    """Check the plan of `migrate` before its first step. A receiver of `pre_migrate`. Raises `MigrationRefused`."""
    connection = connections[using]
    lift_time_limits(connection)
    check_database(connection)
    ours = {migration.name: is_backwards for migration, is_backwards in plan if migration.app_label == "conversations"}
    if ours.get(FIRST):
        refuse_to_drop_history()
    if ours.get(FIRST) is False and runs_first.get():
        require_absent_tables(connection)
    if ours.get(ADDITIONS):
        check_way_back(connection)
    if ours.get(ADDITIONS) is False:
        check_tables(connection, may_be_absent=FIRST in ours)


def lift_time_limits(connection: BaseDatabaseWrapper) -> None:
    """Let migrations take their time, whatever the role's own settings are. Their locks have limits of their own."""
    with connection.cursor() as cursor:
        for name in ("statement_timeout", "idle_in_transaction_session_timeout", "lock_timeout"):
            cursor.execute("SELECT set_config(%s, '0', false)", [name])


def check_database(connection: BaseDatabaseWrapper) -> None:
    """Check that the database can hold the tables, and what users write. Raises `MigrationRefused`."""
    with connection.cursor() as cursor:
        cursor.execute(DATABASE_SQL)
        encoding, schema, may_create = cursor.fetchone()
    if encoding != "UTF8":
        raise MigrationRefused(
            f"The database's encoding is {encoding}. It must be UTF8, or messages with other characters would be lost: "
            "create a database with ENCODING 'UTF8' TEMPLATE template0. Nothing was changed."
        )
    if schema is None or not may_create:
        where = "any schema of its search_path" if schema is None else f"the schema {schema}"
        raise MigrationRefused(
            f"The role in DATABASE_URL may not create tables in {where}. Grant it USAGE and CREATE there. Nothing was changed."
        )


def check_way_back(connection: BaseDatabaseWrapper) -> None:
    """Check what would stop the way back to the predecessor half-way. Raises `MigrationRefused`."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT EXISTS (SELECT 1 FROM conversations WHERE user_id IS NULL)")
        (has_anonymous,) = cursor.fetchone()
    if has_anonymous:
        raise MigrationRefused(
            "There are conversations of anonymous callers, which the predecessor's tables can't hold. Delete them first: "
            "manage.py prune_history --anonymous. Nothing was changed."
        )


def refuse_to_drop_history() -> None:
    raise MigrationRefused(
        "Migration 0001 can't be reversed: it would drop the tables conversations and messages with all their rows. "
        "`migrate conversations 0001` reverses the later migrations. Nothing was changed."
    )


def check_tables(connection: BaseDatabaseWrapper, *, may_be_absent: bool) -> None:
    """Check that both tables are the predecessor's and that this role may alter them. Raises `MigrationRefused`."""
    with connection.cursor() as cursor:
        cursor.execute(FOUND_SQL, [list(COLUMNS)])
        rows = cursor.fetchall()
    if not rows and may_be_absent:
        return
    found = {(table, column): kind for table, column, kind, _ in rows}
    problems = []
    for table, columns in COLUMNS.items():
        for column, kind in columns.items():
            there = found.get((table, column))
            if there != kind:
                problems.append(f"{table}.{column} is missing" if there is None else f"{table}.{column} is {there}, not {kind}")
    if problems:
        raise MigrationRefused(
            f"The tables conversations and messages can't be taken over: {', '.join(problems)}. "
            "Bring the predecessor's database to its newest Alembic revision first (alembic upgrade head; "
            "003 is too old, it lacks is_favorited). Nothing was changed."
        )
    if foreign := sorted({table for table, _, _, is_owner in rows if not is_owner}):
        raise MigrationRefused(
            f"The role in DATABASE_URL does not own {' and '.join(foreign)}, so it can't add columns. "
            "Run migrate as the owner. Nothing was changed."
        )


def require_absent_tables(connection: BaseDatabaseWrapper) -> None:
    """Check that there is no table of ours where migration 0001 is run and not faked. Raises `MigrationRefused`."""
    with connection.cursor() as cursor:
        cursor.execute(FOUND_SQL, [list(COLUMNS)])
        if cursor.fetchone() is not None:
            raise MigrationRefused(
                "The tables conversations and messages are there already. If they are the predecessor's, "
                "run `migrate --fake-initial`. They were not changed."
            )
