"""Insert the rows of an import, or find out for a dry run which ones would be inserted."""

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from django.db import connection
from psycopg import sql

from conversations.services.history.files.json_lines import CONVERSATION, MESSAGE, TABLES
from conversations.services.history.imports.import_admission import Row, json_array

INSERT_SQL = """
WITH given AS MATERIALIZED (
    SELECT row.* FROM json_array_elements(%(lines)s::json) AS line, json_populate_record(NULL::{table}, line -> {kind}) AS row
)
INSERT INTO {table} ({columns}) SELECT {values} FROM given WHERE {fits} ON CONFLICT DO NOTHING
"""
# Another import may insert rows of this batch meanwhile. INSERT waits for it and skips them; only a later statement sees them.
EXISTING_SQL = """
SELECT count(*) FROM json_array_elements(%(lines)s::json) AS line
JOIN {table} AS known ON known.id = (line -> {kind} ->> 'id')::uuid
"""
PREVIEW_SQL = """
WITH given AS MATERIALIZED (
    SELECT row.* FROM json_array_elements(%(lines)s::json) AS line, json_populate_record(NULL::{table}, line -> {kind}) AS row
)
SELECT coalesce(array_agg(given.id) FILTER (WHERE known.id IS NULL AND {fits} AND {free}), '{{}}'), count(known.id)
FROM given LEFT JOIN {table} AS known ON known.id = given.id
"""
# What the unique constraints ask for besides a new id.
FREE = {
    CONVERSATION: """
    NOT EXISTS (
        SELECT 1 FROM conversations AS other WHERE other.user_id = given.user_id AND other.session_id = given.session_id
    ) AND NOT EXISTS (
        SELECT 1 FROM conversations AS other
        WHERE given.user_id IS NULL AND other.user_id IS NULL AND other.session_id = given.session_id
    )""",
    MESSAGE: """
    NOT EXISTS (
        SELECT 1 FROM messages AS other
        WHERE other.conversation_id = given.conversation_id AND other.idempotency_key = given.idempotency_key
    )""",
}
# The predecessor's foreign key on users. A conversation whose user is missing there can't be restored.
USERS_SQL = """
SELECT confrelid::regclass::text, quote_ident(referred.attname)
FROM pg_constraint
JOIN pg_attribute AS own ON own.attrelid = conrelid AND own.attnum = conkey[1]
JOIN pg_attribute AS referred ON referred.attrelid = confrelid AND referred.attnum = confkey[1]
WHERE conrelid = 'conversations'::regclass AND contype = 'f' AND own.attname = 'user_id'
  AND has_column_privilege(confrelid, referred.attnum, 'SELECT')
"""
# Values that are changed: an assistant that no longer exists, and the status of a reply that was running.
REPLACED_VALUES = {
    (CONVERSATION, "assistant_id"): "(SELECT id FROM assistants WHERE assistants.id = given.assistant_id)",
    (MESSAGE, "status"): "CASE given.status WHEN 'streaming' THEN 'interrupted' ELSE given.status END",
}
MESSAGE_FITS = "EXISTS (SELECT 1 FROM conversations WHERE conversations.id = given.conversation_id)"


class Counts(NamedTuple):
    """How many lines became rows, and how many were rows already or are repeated in their batch."""

    inserted: int = 0
    present: int = 0


def conditions_to_fit() -> dict[str, str]:
    """Return the SQL condition for the rows of each kind that the foreign keys accept."""
    return {CONVERSATION: _condition_on_users(), MESSAGE: MESSAGE_FITS}


def insert_rows(rows: Sequence[Row], fits: str) -> Counts:
    """Insert rows of one kind."""
    # Grouped by columns. A column that is missing from an older export gets its default.
    groups: dict[tuple[str, tuple[str, ...]], list[bytes]] = {}
    for row in rows:
        groups.setdefault((row.kind, row.columns), []).append(row.line)
    counts = [_insert(kind, columns, lines, fits) for (kind, columns), lines in sorted(groups.items())]
    return Counts(sum(count.inserted for count in counts), sum(count.present for count in counts))


def preview_rows(rows: Sequence[Row], fits: str) -> tuple[list[UUID], int]:
    """Return the ids of the rows of one kind that would be inserted, and how many rows exist. Changes nothing."""
    if not rows:
        return [], 0
    kind = rows[0].kind
    statement = sql.SQL(PREVIEW_SQL).format(
        table=sql.Identifier(TABLES[kind]), kind=sql.Literal(kind), fits=sql.SQL(fits), free=sql.SQL(FREE[kind])
    )
    with connection.cursor() as cursor:
        cursor.execute(statement, {"lines": json_array([row.line for row in rows])})
        ids, existing = cursor.fetchone()
    return ids, existing


def _insert(kind: str, columns: Sequence[str], lines: list[bytes], fits: str) -> Counts:
    values = [
        sql.SQL(REPLACED_VALUES.get((kind, column), "given.{column}")).format(column=sql.Identifier(column))
        for column in columns
    ]
    names = {"table": sql.Identifier(TABLES[kind]), "kind": sql.Literal(kind)}
    statement = sql.SQL(INSERT_SQL).format(
        **names,
        columns=sql.SQL(", ").join(map(sql.Identifier, columns)),
        values=sql.SQL(", ").join(values),
        fits=sql.SQL(fits),
    )
    parameters = {"lines": json_array(lines)}
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        inserted = cursor.rowcount
        if inserted == len(lines):
            return Counts(inserted)
        cursor.execute(sql.SQL(EXISTING_SQL).format(**names), parameters)
        return Counts(inserted, cursor.fetchone()[0] - inserted)


def _condition_on_users() -> str:
    with connection.cursor() as cursor:
        cursor.execute(USERS_SQL)
        found = cursor.fetchone()
    if found is None:
        return "true"
    users, key = found
    # S608: names that the database itself has quoted.
    return f"(given.user_id IS NULL OR EXISTS (SELECT 1 FROM {users} AS known WHERE known.{key} = given.user_id))"  # noqa: S608
