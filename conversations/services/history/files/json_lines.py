"""Rows of history as lines of JSON, written and read by PostgreSQL.

A line is `{"conversation":{…}}` or `{"message":{…}}` with every column of the table, also those that other software added.
PostgreSQL writes lines with row_to_json and reads them with json_populate_record, so no value passes through a Python type.
Generated columns are left out. Times are in UTC, to the microsecond.
"""

from collections.abc import Collection, Generator

from django.db import connection
from psycopg import sql

from conversations.placeholders import TEXT_SQL
from conversations.services.history.files.id_arrays import IdArray
from inference_proxy.replies.streams import escape_line_ends

CONVERSATION = "conversation"
MESSAGE = "message"
TABLES = {CONVERSATION: "conversations", MESSAGE: "messages"}
# Before the conversations: see `instruction_lines`.
INSTRUCTIONS = "instructions"

COLUMNS_SQL = """
SELECT attname FROM pg_attribute
WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
ORDER BY attnum
"""

# Each conversation, in the order of the ids, followed by its messages, oldest first. LATERAL handles one id after the other;
# sorting all lines at the end would take half as long again.
LINES_SQL = """
COPY (
    SELECT line FROM unnest({ids}::uuid[]) AS wanted (id) CROSS JOIN LATERAL (
        SELECT '{{"conversation":' || row_to_json(row)::text || '}}' AS line
        FROM (SELECT {conversation_columns} FROM conversations WHERE id = wanted.id) AS row
        UNION ALL
        SELECT '{{"message":' || row_to_json(row)::text || '}}'
        FROM (
            SELECT {message_columns} FROM messages WHERE conversation_id = wanted.id ORDER BY created_at NULLS LAST, id
        ) AS row
    ) AS lines
) TO STDOUT
"""
# Rows of one table, in the order of the ids.
ROWS_SQL = """
COPY (
    SELECT '{{"' || {kind} || '":' || row_to_json(row)::text || '}}'
    FROM (
        SELECT {columns} FROM unnest({ids}::uuid[]) WITH ORDINALITY AS wanted (wanted_id, place)
        JOIN {table} ON {table}.id = wanted.wanted_id ORDER BY place
    ) AS row
) TO STDOUT
"""


def column_names(kind: str) -> list[str]:
    """Return the names of the columns of the table for a kind of line, as the database has them."""
    return own_columns(TABLES[kind])


def own_columns(table: str) -> list[str]:
    """Return the names of a table's columns that are not generated, as the database has them."""
    with connection.cursor() as cursor:
        cursor.execute(COLUMNS_SQL, [table])
        return [name for (name,) in cursor.fetchall()]


def history_lines(conversation_ids: IdArray, without: Collection[str] = ()) -> Generator[bytes, None, None]:
    """Yield the lines of these conversations and their messages, each with its line end. Only one is in memory at a time.

    Columns named in `without` are left out. Close the generator before the transaction ends, whatever happens: until then it
    holds the lock of psycopg's connection, and a rollback would wait for it for ever.
    """
    return _copied(
        sql.SQL(LINES_SQL).format(
            ids=sql.Literal(conversation_ids.text),
            conversation_columns=_columns(CONVERSATION, without),
            message_columns=_columns(MESSAGE, without),
        )
    )


def row_lines(kind: str, ids: IdArray, without: Collection[str] = ()) -> Generator[bytes, None, None]:
    """Yield the lines of conversations alone, or of messages. As for `history_lines`."""
    return _copied(
        sql.SQL(ROWS_SQL).format(
            kind=sql.Literal(kind),
            columns=_columns(kind, without),
            ids=sql.Literal(ids.text),
            table=sql.Identifier(TABLES[kind]),
        )
    )


def _copied(statement: sql.Composed) -> Generator[bytes, None, None]:
    # Django translates the errors of statements, but not those of COPY.
    with connection.wrap_database_errors, connection.cursor() as cursor, cursor.copy(statement) as copy:
        # Not `copy.rows()`, which would decode each line to text for nothing.
        for row in copy:
            yield escape_line_ends(_unescaped(bytes(row)))


def _unescaped(row: bytes) -> bytes:
    r"""Undo what COPY does to a row of one column.

    It doubles backslashes. Of the control characters that it replaces, JSON has none, except spaces between values in a
    column of the type `json`. A line end there would break the line.
    """
    if b"\\" not in row:
        return row
    # PostgreSQL's texts have no NUL.
    for escape, meant in ((b"\\\\", b"\0"), (b"\\n", b" "), (b"\\r", b" "), (b"\\t", b" "), (b"\0", b"\\")):
        row = row.replace(escape, meant)
    return row


def _columns(kind: str, without: Collection[str]) -> sql.Composed:
    text = sql.SQL(f"{TEXT_SQL} AS content")
    names = (name for name in column_names(kind) if name not in without)
    return sql.SQL(", ").join(text if (kind, name) == (MESSAGE, "content") else sql.Identifier(name) for name in names)
