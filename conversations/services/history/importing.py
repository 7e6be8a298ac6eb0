"""Restore the rows of an export or an archive.

Principle: existing rows are never changed. A row whose id already exists is skipped. So an import can be interrupted and
repeated, and an archive may contain rows that were never deleted. A row that can't be restored (its session was started again,
its user is missing from the predecessor's `users`, its conversation is not in the file or belongs to someone else in the
database, its user was erased) is counted and left out. `admission` decides the last two.
"""

import gzip
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

import orjson
import psycopg
from django.db import DatabaseError, connection, transaction
from psycopg import sql

from conversations.services.history.admission import Admission, Row, json_array, read_row
from conversations.services.history.json_lines import CONVERSATION, MESSAGE, TABLES, column_names

DEFAULT_BATCH_LINES = 2000
MAX_BATCH_BYTES = 8 * 1024 * 1024
# Ten times the longest reply. A few kilobytes of gzip can contain a line of a gigabyte.
MAX_LINE_BYTES = 16 * 1024 * 1024
MAX_COLUMNS_NAMED = 5

# `present` counts rows that existed before, and repeated rows in the batch. (An archive repeats rows if a run was killed after
# it wrote a batch and before it deleted the rows.) Rows that are neither inserted nor present could not be restored.
INSERT_SQL = """
WITH given AS MATERIALIZED (
    SELECT row.* FROM json_array_elements(%(lines)s::json) AS line, json_populate_record(NULL::{table}, line -> {kind}) AS row
), present AS MATERIALIZED (
    SELECT count(*) - count(DISTINCT given.id) FILTER (WHERE known.id IS NULL) AS total
    FROM given LEFT JOIN {table} AS known ON known.id = given.id
), inserted AS (
    INSERT INTO {table} ({columns}) SELECT {values} FROM given WHERE {fits} ON CONFLICT DO NOTHING RETURNING 1
)
SELECT (SELECT count(*) FROM inserted), (SELECT total FROM present)
"""
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


class ImportProblem(Exception):
    """The file can't be imported. The text says why and never quotes a row."""


@dataclass(slots=True)
class ImportedRows:
    """How the rows of one table were handled."""

    inserted: int = 0
    present: int = 0
    left_out: int = 0


@dataclass(slots=True)
class ImportResult:
    """What was read so far."""

    conversations: ImportedRows = field(default_factory=ImportedRows)
    messages: ImportedRows = field(default_factory=ImportedRows)
    # Users whose conversations were left out, because they were erased.
    erased_users: int = 0
    # The file ends in the middle of a batch. If it is an archive, the rows of that batch were not deleted.
    is_torn: bool = False
    is_complete: bool = False

    def of(self, kind: str) -> ImportedRows:
        return self.conversations if kind == CONVERSATION else self.messages


def import_history(
    *,
    source: BinaryIO,
    includes_erased: bool = False,
    batch_lines: int = DEFAULT_BATCH_LINES,
    should_stop: Callable[[], bool] = lambda: False,
    on_batch: Callable[[ImportResult], None] = lambda result: None,
) -> ImportResult:
    """Restore the rows of a file, each batch in one transaction. Raises `ImportProblem`."""
    result = ImportResult()
    known_columns = {kind: frozenset(column_names(kind)) for kind in TABLES}
    fits = {CONVERSATION: _condition_on_users(), MESSAGE: MESSAGE_FITS}
    admission = Admission(includes_erased)
    for batch in _batches(_numbered_lines(source, result), batch_lines):
        if should_stop():
            return result
        _import_batch(batch, known_columns, fits, admission, result)
        on_batch(result)
    result.is_complete = True
    return result


@contextmanager
def import_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file to import, compressed or not."""
    with path.open("rb") as raw:
        is_compressed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        if is_compressed:
            with gzip.GzipFile(fileobj=raw, mode="rb") as unpacked:
                yield cast(BinaryIO, unpacked)
        else:
            yield raw


Line = tuple[int, bytes]


def _numbered_lines(source: BinaryIO, result: ImportResult) -> Iterator[Line]:
    number = 0
    try:
        while line := source.readline(MAX_LINE_BYTES):
            number += 1
            if not line.endswith(b"\n"):
                if len(line) == MAX_LINE_BYTES:
                    raise ImportProblem(f"line {number} is longer than {MAX_LINE_BYTES // 2**20} MiB")
                result.is_torn = True
                return
            yield number, line
    except EOFError:
        result.is_torn = True
    except (gzip.BadGzipFile, zlib.error):
        raise ImportProblem(f"the file is damaged after line {number}") from None


def _batches(lines: Iterator[Line], most: int) -> Iterator[list[Line]]:
    batch: list[Line] = []
    size = 0
    for numbered in lines:
        batch.append(numbered)
        size += len(numbered[1])
        if len(batch) >= most or size >= MAX_BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _condition_on_users() -> str:
    """Return the SQL condition for conversations that the predecessor's foreign key accepts."""
    with connection.cursor() as cursor:
        cursor.execute(USERS_SQL)
        found = cursor.fetchone()
    if found is None:
        return "true"
    users, key = found
    # S608: names that the database itself has quoted.
    return f"(given.user_id IS NULL OR EXISTS (SELECT 1 FROM {users} AS known WHERE known.{key} = given.user_id))"  # noqa: S608


def _import_batch(
    batch: Sequence[Line],
    known_columns: dict[str, frozenset[str]],
    fits: dict[str, str],
    admission: Admission,
    result: ImportResult,
) -> None:
    rows = [_read_line(number, line, known_columns) for number, line in batch]
    try:
        with transaction.atomic():
            # Conversations first: the messages refer to them.
            conversations = admission.conversations(rows)
            counts = {CONVERSATION: _insert_all(conversations, fits[CONVERSATION])}
            admission.trust(conversations)
            counts[MESSAGE] = _insert_all(admission.messages(rows), fits[MESSAGE])
    except DatabaseError as failure:
        raise ImportProblem(f"the database refused lines {batch[0][0]} to {batch[-1][0]}: {_reason(failure)}") from None
    for kind, (inserted, present) in counts.items():
        handled = result.of(kind)
        handled.inserted += inserted
        handled.present += present
        handled.left_out += sum(row.kind == kind for row in rows) - inserted - present
    result.erased_users = len(admission.erased_users)


def _insert_all(rows: Sequence[Row], fits: str) -> tuple[int, int]:
    """Insert rows of one kind. Return how many were inserted and how many were present."""
    # Grouped by columns. A column that is missing from an older export gets its default.
    groups: dict[tuple[str, tuple[str, ...]], list[bytes]] = {}
    for row in rows:
        groups.setdefault((row.kind, row.columns), []).append(row.line)
    counts = [_insert(kind, columns, lines, fits) for (kind, columns), lines in sorted(groups.items())]
    return sum(inserted for inserted, _ in counts), sum(present for _, present in counts)


def _read_line(number: int, line: bytes, known_columns: dict[str, frozenset[str]]) -> Row:
    try:
        parsed: Any = orjson.loads(line)
        ((kind, values),) = parsed.items()
        known = known_columns[kind]
        if unknown := set(values) - known:
            raise ImportProblem(f"line {number} has columns that are not in this database: {_name_columns(unknown)}")
        return read_row(kind, values, line)
    except (orjson.JSONDecodeError, AttributeError, KeyError, TypeError, ValueError):
        raise ImportProblem(f"line {number} is not a line of an export or an archive") from None


def _name_columns(names: set[str]) -> str:
    """List columns for a terminal. A file may contain anything, also control sequences."""
    shown = [ascii(name[:63])[1:-1] for name in sorted(names)[:MAX_COLUMNS_NAMED]]
    return ", ".join(shown) + (", …" if len(names) > len(shown) else "")


def _insert(kind: str, columns: Sequence[str], lines: list[bytes], fits: str) -> tuple[int, int]:
    values = [
        sql.SQL(REPLACED_VALUES.get((kind, column), "given.{column}")).format(column=sql.Identifier(column))
        for column in columns
    ]
    statement = sql.SQL(INSERT_SQL).format(
        table=sql.Identifier(TABLES[kind]),
        kind=sql.Literal(kind),
        columns=sql.SQL(", ").join(map(sql.Identifier, columns)),
        values=sql.SQL(", ").join(values),
        fits=sql.SQL(fits),
    )
    with connection.cursor() as cursor:
        cursor.execute(statement, {"lines": json_array(lines)})
        inserted, present = cursor.fetchone()
    return inserted, present


def _reason(failure: DatabaseError) -> str:
    """Return PostgreSQL's reason without the row that its message quotes."""
    cause = failure.__cause__
    if not isinstance(cause, psycopg.Error):
        return type(failure).__name__
    constraint = f" ({cause.diag.constraint_name})" if cause.diag.constraint_name else ""
    return f"{type(cause).__name__}{constraint}"
