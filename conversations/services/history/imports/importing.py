"""Restore the rows of an export or an archive.

Principle: existing rows are never changed. A row whose id already exists is skipped. So an import can be interrupted and
repeated, and an archive may contain rows that were never deleted. A row that can't be restored (its session was started again,
its user is missing from the predecessor's `users`, its conversation is not in the file or belongs to someone else in the
database, its user was erased) is counted and left out. `import_admission` decides the last two.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO
from uuid import UUID

import orjson
import psycopg
from django.db import DatabaseError, transaction

from conversations.services.history.files.json_lines import CONVERSATION, INSTRUCTIONS, MESSAGE, TABLES, column_names
from conversations.services.history.files.reading import HistoryLines, ImportProblem, Line
from conversations.services.history.files.seals import Condition
from conversations.services.history.id_batches import prefer_indexes
from conversations.services.history.imports.import_admission import Admission, Row, read_row
from conversations.services.history.imports.insertion import Counts, conditions_to_fit, insert_rows, preview_rows
from conversations.services.history.imports.instruction_lines import COLUMNS, count_new_instructions, restore_instructions

DEFAULT_BATCH_LINES = 2000
MAX_BATCH_BYTES = 8 * 1024 * 1024
MAX_COLUMNS_NAMED = 5
# Of the result, by the kind of line.
FIELDS = {CONVERSATION: "conversations", MESSAGE: "messages", INSTRUCTIONS: "instructions"}


@dataclass(slots=True)
class ImportedRows:
    """How the rows of one table were handled."""

    inserted: int = 0
    present: int = 0
    left_out: int = 0


@dataclass(slots=True)
class ImportResult:
    """What was read so far. In a dry run, `inserted` counts what would be inserted."""

    conversations: ImportedRows = field(default_factory=ImportedRows)
    messages: ImportedRows = field(default_factory=ImportedRows)
    instructions: ImportedRows = field(default_factory=ImportedRows)
    # Users whose conversations were left out, because they were erased.
    erased_users: int = 0
    # What the file's headers and trailers say about it. Only right when the file is read to its end.
    condition: Condition = Condition.CUT
    # The file ends in the middle of a batch. If it is an archive, the rows of that batch were not deleted.
    is_torn: bool = False
    is_complete: bool = False

    def of(self, kind: str) -> ImportedRows:
        handled: ImportedRows = getattr(self, FIELDS[kind])
        return handled


class _Run:
    """What is the same for all batches of an import."""

    def __init__(self, *, only_user: UUID | None, includes_erased: bool, is_dry_run: bool) -> None:
        self.is_dry_run = is_dry_run
        self.known_columns = {kind: frozenset(column_names(kind)) for kind in TABLES} | {INSTRUCTIONS: COLUMNS}
        self.fits = conditions_to_fit()
        self.admission = Admission(includes_erased, only_user)


def import_history(
    *,
    source: BinaryIO,
    only_user: UUID | None = None,
    includes_erased: bool = False,
    is_dry_run: bool = False,
    batch_lines: int = DEFAULT_BATCH_LINES,
    should_stop: Callable[[], bool] = lambda: False,
    on_batch: Callable[[ImportResult], None] = lambda result: None,
) -> ImportResult:
    """Restore the rows of a file, each batch in one transaction. Raises `ImportProblem`.

    A file that is cut or changed is imported too: `inspect_file` finds that out before, and the result's `condition` says it
    afterwards. A dry run changes nothing. It counts a message twice if the file has it twice, and tries no check constraints.
    """
    result = ImportResult()
    run = _Run(only_user=only_user, includes_erased=includes_erased, is_dry_run=is_dry_run)
    lines = HistoryLines(source)
    for batch in _batches(lines, batch_lines):
        if should_stop():
            return result
        _import_batch(batch, run, result)
        on_batch(result)
    result.condition, result.is_torn = lines.condition, lines.is_torn
    result.is_complete = True
    return result


def _batches(lines: Iterable[Line], most: int) -> Iterator[list[Line]]:
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


def _import_batch(batch: Sequence[Line], run: _Run, result: ImportResult) -> None:
    rows = run.admission.of_user([_read_line(number, line, run.known_columns) for number, line in batch])
    try:
        with transaction.atomic():
            counts = _preview(rows, run) if run.is_dry_run else _restore(rows, run)
    except DatabaseError as failure:
        raise ImportProblem(f"the database refused lines {batch[0][0]} to {batch[-1][0]}: {reason_of(failure)}") from None
    for kind, (inserted, present) in counts.items():
        handled = result.of(kind)
        handled.inserted += inserted
        handled.present += present
        handled.left_out += sum(row.kind == kind for row in rows) - inserted - present
    result.erased_users = len(run.admission.erased_users)


def _restore(rows: Sequence[Row], run: _Run) -> dict[str, Counts]:
    # Conversations first: the messages refer to them.
    conversations = run.admission.conversations(rows)
    counts = {CONVERSATION: insert_rows(conversations, run.fits[CONVERSATION])}
    run.admission.trust(conversations)
    counts[MESSAGE] = insert_rows(run.admission.messages(rows), run.fits[MESSAGE])
    counts[INSTRUCTIONS] = _counts_of_instructions(rows, run, restore_instructions)
    return counts


def _preview(rows: Sequence[Row], run: _Run) -> dict[str, Counts]:
    prefer_indexes()
    conversations = run.admission.conversations(rows)
    ids, existing = preview_rows(conversations, run.fits[CONVERSATION])
    run.admission.trust(conversations)
    new = run.admission.trust_new(ids)
    counts = {CONVERSATION: Counts(new, existing + len(ids) - new)}
    # A message is admitted if its conversation exists or would be restored.
    ids, existing = preview_rows(run.admission.messages(rows), "true")
    new = len(set(ids))
    counts[MESSAGE] = Counts(new, existing + len(ids) - new)
    counts[INSTRUCTIONS] = _counts_of_instructions(rows, run, count_new_instructions)
    return counts


def _counts_of_instructions(rows: Sequence[Row], run: _Run, handle: Callable[[Sequence[Row]], int]) -> Counts:
    admitted = run.admission.instructions(rows)
    new = handle(admitted)
    return Counts(new, len(admitted) - new)


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


def reason_of(failure: DatabaseError) -> str:
    """Return PostgreSQL's reason without the row that its message quotes."""
    cause = failure.__cause__
    if not isinstance(cause, psycopg.Error):
        return type(failure).__name__
    constraint = f" ({cause.diag.constraint_name})" if cause.diag.constraint_name else ""
    return f"{type(cause).__name__}{constraint}"
