"""Move a user to another cell: another complete installation, with a database of its own. Nothing here knows of other cells.

Principle: an order in which nothing is lost or doubled, whenever a command breaks off.

1. `close_user` refuses what would change the user's history, at every node, waits until running replies have ended, and then
   until every transaction that began before is over. From then on the rows are as they will be.
2. `write_archive` writes them, and at its end how many they are and their checksums, which the database computes.
3. At the other cell, `read_archive` restores them and compares its own counts and checksums.
4. The person who moves the user tells the proxy. Until then, clients get 503 for writes and read here.
5. `erase_moved` deletes the rows here. The refusal stays, for clients that still come with an old cookie. It ends when the user
   is moved back, or when `reopen_user` gives the move up.
"""

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, BinaryIO
from uuid import UUID

import orjson
from django.db import connection, transaction
from django.utils import timezone
from psycopg import sql

from conversations.models import Conversation, Message, MovedUser, QueuedMessage
from conversations.placeholders import TEXT_SQL
from conversations.services.history.delete import delete_with_messages
from conversations.services.history.exports.export import export_history
from conversations.services.history.files.id_arrays import ids_of
from conversations.services.history.files.json_lines import own_columns
from conversations.services.history.files.reading import MAX_LINE_BYTES
from conversations.services.history.files.seals import Condition
from conversations.services.history.holds import refusing_held
from conversations.services.history.id_batches import prefer_indexes
from conversations.services.history.imports.importing import import_history
from conversations.services.history.tombstones import erased_among
from conversations.services.history.user_tables import USER_TABLES
from conversations.services.replies.stop import stop_one_reply

POLL_S = 0.1
# Transactions of the service are short. What lasts longer is a backup or a forgotten session.
OLDER_LIMIT_S = 60.0
BATCH_SIZE = 500
ROWS_AT_ONCE = 500
ROW, END = "row", "cell_archive_end"
FIRST_LINE = b'{"cell_archive":{"version":1}}\n'

# Which rows of a table belong to a user, besides the conversations and messages, in the order in which they are restored.
_OF_THEIR_CONVERSATIONS = "conversation_id IN (SELECT id FROM conversations WHERE user_id = %(user_id)s)"
OTHER_TABLES = {
    "chat_users": "id = %(user_id)s",
    "usage_totals": "user_id = %(user_id)s",
    "user_quotas": "user_id = %(user_id)s",
    "creation_keys": "user_id = %(user_id)s",
    "queued_messages": _OF_THEIR_CONVERSATIONS,
}
# What is compared. The directory is not: the other cell may have seen the user already.
COMPARED = {
    "conversations": "user_id = %(user_id)s",
    "messages": _OF_THEIR_CONVERSATIONS,
    "user_instructions": "user_id = %(user_id)s",
    **{name: which for name, which in OTHER_TABLES.items() if name != "chat_users"},
}
# Without the text that replies without text have for the predecessor.
ROW_SQL = {"messages": f"(to_jsonb(row) || jsonb_build_object('content', {TEXT_SQL}))"}
# What another cell has of its own: numbers of rows, workers, assistants that it may not have.
NOT_COMPARED = {"creation_keys": ("id",), "messages": ("worker", "heartbeat_at"), "conversations": ("assistant_id",)}

MARK_SQL = "UPDATE change_era_marks SET moves_users = EXISTS (SELECT FROM moved_users)"
# Transactions of this database that have written something.
WRITERS_SQL = """
SELECT held.transactionid::text FROM pg_locks AS held JOIN pg_stat_activity AS session USING (pid)
WHERE held.locktype = 'transactionid' AND held.mode = 'ExclusiveLock' AND held.granted
  AND session.datname = current_database() AND held.pid <> pg_backend_pid()
"""
CHECKSUM_SQL = """
SELECT {name} AS name, count(*), coalesce(sum(hashtextextended(({row} - {without}::text[])::text, 0)::numeric), 0)::text
FROM {table} AS row WHERE {which}
"""
ROWS_SQL = "SELECT to_jsonb(row)::text FROM {table} AS row WHERE {which} ORDER BY ctid"
RESTORE_SQL = """
INSERT INTO {table} ({columns}) SELECT {columns}
FROM json_array_elements(%(rows)s::json) AS line CROSS JOIN json_populate_record(NULL::{table}, line) AS given
ON CONFLICT DO NOTHING
"""
LET_THROUGH_SQL = "SELECT set_config('chat_api.moves', %s, true)"


class MoveProblem(Exception):
    """The user can't be moved like this. The text says why."""


@dataclass(frozen=True, slots=True)
class TableState:
    """How many rows of a table a user has, and their checksum, which does not depend on their order."""

    rows: int
    checksum: str


@dataclass(slots=True)
class MoveResult:
    """What was moved or erased, and where the tables of two cells differ."""

    user_id: UUID
    tables: dict[str, TableState] = field(default_factory=dict)
    differing: list[str] = field(default_factory=list)
    is_complete: bool = False

    def as_json(self) -> dict[str, Any]:
        rows = {name: state.rows for name, state in self.tables.items()}
        return {"user_id": str(self.user_id), "rows": rows, "differing": self.differing, "is_complete": self.is_complete}


def states_of(user_id: UUID) -> dict[str, TableState]:
    """Return the state of each table of a user, all of one moment."""
    each = [
        sql.SQL(CHECKSUM_SQL).format(
            name=sql.Literal(name),
            row=sql.SQL(ROW_SQL.get(name, "to_jsonb(row)")),
            without=sql.Literal(list(NOT_COMPARED.get(name, ()))),
            table=sql.Identifier(name),
            which=sql.SQL(which.replace("%(user_id)s", "{user_id}")).format(user_id=sql.Literal(user_id)),
        )
        for name, which in COMPARED.items()
    ]
    with connection.cursor() as cursor:
        cursor.execute(sql.SQL(" UNION ALL ").join(each))
        return {name: TableState(rows, checksum) for name, rows, checksum in cursor.fetchall()}


# --- The old cell -----------------------------------------------------------------------------------------------------------


def close_user(user_id: UUID, *, wait_s: float, should_stop: Callable[[], bool] = lambda: False) -> None:
    """Refuse writes of the user, and wait until nothing of theirs changes any more. Safe to repeat. Raises `MoveProblem`.

    Replies that still run after `wait_s` are stopped. Messages that wait are kept until the user resumes them.
    """
    MovedUser.objects.bulk_create([MovedUser(user_id=user_id, begun_at=timezone.now())], ignore_conflicts=True)
    _mark()
    # At once: the end of a reply would start the next one, which is refused. And again for those that came late.
    _hold_queue(user_id)
    _outlast_transactions(should_stop)
    # Another transaction may have set the mark before it could see this user.
    _mark()
    _hold_queue(user_id)
    running = Message.objects.running().filter(conversation__user_id=user_id)
    give_up_at = time.monotonic() + wait_s
    while running.exists() and time.monotonic() < give_up_at:
        _check(should_stop)
        time.sleep(POLL_S)
    for reply_id in list(running.values_list("id", flat=True)):
        stop_one_reply(reply_id)
    if running.exists():
        raise MoveProblem("a reply still runs, and its worker does not answer; run the command again")
    MovedUser.objects.filter(user_id=user_id, closed_at=None).update(closed_at=timezone.now())
    _outlast_transactions(should_stop)


def _hold_queue(user_id: UUID) -> None:
    with _let_through("allowed"):
        QueuedMessage.objects.filter(conversation__user_id=user_id, is_started=False).update(is_held=True)


def reopen_user(user_id: UUID) -> bool:
    """Accept writes of the user again. Return whether they were refused."""
    reopened = MovedUser.objects.filter(user_id=user_id).delete()[0] > 0
    _mark()
    return reopened


def write_archive(user_id: UUID, target: BinaryIO, *, should_stop: Callable[[], bool] = lambda: False) -> MoveResult:
    """Write everything of a closed user. The result is not complete if it was told to stop."""
    result = MoveResult(user_id)
    target.write(FIRST_LINE)
    if not export_history(target=target, user_id=user_id, should_stop=should_stop).is_complete:
        return result
    for name, which in OTHER_TABLES.items():
        for row in _rows(name, which, user_id):
            target.write(orjson.dumps({ROW: {"table": name, "values": orjson.Fragment(row)}}) + b"\n")
    result.tables = states_of(user_id)
    end = {name: [state.rows, state.checksum] for name, state in result.tables.items()}
    target.write(orjson.dumps({END: {"user_id": str(user_id), "tables": end}}) + b"\n")
    result.is_complete = True
    return result


def note_archived(user_id: UUID) -> None:
    """Note that the archive is on the disk, so that the rows here may be erased."""
    MovedUser.objects.filter(user_id=user_id).update(archived_at=timezone.now())


def erase_moved(user_id: UUID, *, should_stop: Callable[[], bool] = lambda: False) -> MoveResult:
    """Delete what was moved. Writes of the user stay refused. Safe to repeat. Raises `MoveProblem`, `OnHold`."""
    if not MovedUser.objects.filter(user_id=user_id, archived_at__isnull=False).exists():
        raise MoveProblem("this user was not moved to another cell")
    result = MoveResult(user_id, states_of(user_id))
    owned = Conversation.objects.owned_by(user_id)
    while window := list(owned.order_by("id").values_list("id", flat=True)[:BATCH_SIZE]):
        if should_stop():
            return result
        with refusing_held(), transaction.atomic():
            prefer_indexes()
            locked = Conversation.objects.filter(id__in=window).select_for_update(of=("self",)).order_by("id")
            delete_with_messages(ids_of(locked), moves="moved")
    with _let_through("moved"):
        for table in USER_TABLES:
            if table.when_erased == "deleted":
                table.delete(user_id)
    result.is_complete = True
    return result


# --- The new cell -----------------------------------------------------------------------------------------------------------


def read_archive(source: BinaryIO, *, should_stop: Callable[[], bool] = lambda: False) -> MoveResult:
    """Restore an archive and compare counts and checksums. Raises `MoveProblem`, `ImportProblem`.

    The user must have no history here. If a run breaks off, run it again: rows that are here already are left alone.
    """
    with tempfile.TemporaryFile() as history:
        rows, end = _split(source, history)
        user_id = UUID(end["user_id"])
        expected = {name: TableState(*state) for name, state in end["tables"].items()}
        _require_room(user_id, expected)
        history.seek(0)
        imported = import_history(source=history, only_user=user_id, should_stop=should_stop)
    result = MoveResult(user_id)
    if not imported.is_complete:
        return result
    if imported.condition != Condition.WHOLE:
        raise MoveProblem("the archive is cut or was changed")
    for name in OTHER_TABLES:
        _restore(name, [row for table, row in rows if table == name])
    result.tables = states_of(user_id)
    result.differing = sorted(name for name in COMPARED if result.tables[name] != expected.get(name))
    result.is_complete = not result.differing
    return result


def _split(source: BinaryIO, history: BinaryIO) -> tuple[list[tuple[str, bytes]], dict[str, Any]]:
    """Copy the history of an archive to a file, and return the other rows, with their tables, and what the end says."""
    if source.readline(len(FIRST_LINE)) != FIRST_LINE:
        raise MoveProblem("the file is no archive of move_history --to-cell, or of another version")
    rows: list[tuple[str, bytes]] = []
    for line in iter(lambda: source.readline(MAX_LINE_BYTES), b""):
        if not line.startswith((b'{"row":', b'{"cell_archive_end":')):
            history.write(line)
            continue
        try:
            parsed = orjson.loads(line)
            if END in parsed:
                return rows, parsed[END]
            rows.append((parsed[ROW]["table"], orjson.dumps(parsed[ROW]["values"])))
        except (orjson.JSONDecodeError, KeyError, TypeError):
            break
    raise MoveProblem("the archive is cut or was changed")


def _require_room(user_id: UUID, expected: dict[str, TableState]) -> None:
    """Refuse an archive of a user who has other history here, or was erased. Otherwise accept the user's writes again."""
    if erased_among([user_id]):
        raise MoveProblem("the user was erased here")
    present = states_of(user_id)
    if present["conversations"].rows and MovedUser.objects.filter(user_id=user_id).exists():
        raise MoveProblem("what was moved away from here is still here; erase it first: move_history --erase-moved")
    if any(present[name].rows > expected[name].rows for name in COMPARED if name in expected):
        raise MoveProblem("the user has other history here")
    reopen_user(user_id)


def _restore(table: str, rows: list[bytes]) -> None:
    columns = [name for name in own_columns(table) if name not in NOT_COMPARED.get(table, ())]
    statement = RESTORE_SQL.format(table=table, columns=", ".join(columns))
    for start in range(0, len(rows), ROWS_AT_ONCE):
        with connection.cursor() as cursor:
            cursor.execute(statement, {"rows": f"[{b','.join(rows[start : start + ROWS_AT_ONCE]).decode()}]"})


def _rows(table: str, which: str, user_id: UUID) -> Iterator[bytes]:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(ROWS_SQL.format(table=table, which=which), {"user_id": user_id})
        while rows := cursor.fetchmany(ROWS_AT_ONCE):
            for (row,) in rows:
                yield row.encode()


def _mark() -> None:
    """Have the triggers look whether a writer is moved, or not."""
    with connection.cursor() as cursor:
        cursor.execute(MARK_SQL)


@contextmanager
def _let_through(mode: str) -> Iterator[None]:
    """Make a transaction whose writes are not refused."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(LET_THROUGH_SQL, [mode])
        yield
        # In case this is part of a longer transaction.
        with connection.cursor() as cursor:
            cursor.execute(LET_THROUGH_SQL, [""])


def _outlast_transactions(should_stop: Callable[[], bool]) -> None:
    """Wait until the transactions that are writing now are over. Those that write later see what was committed here."""
    older = _writers()
    give_up_at = time.monotonic() + OLDER_LIMIT_S
    while older := older & _writers():
        _check(should_stop)
        if time.monotonic() > give_up_at:
            raise MoveProblem("a transaction has been writing for a minute; run the command again when it is over")
        time.sleep(POLL_S)


def _writers() -> set[str]:
    with connection.cursor() as cursor:
        cursor.execute(WRITERS_SQL)
        return {number for (number,) in cursor.fetchall()}


def _check(should_stop: Callable[[], bool]) -> None:
    if should_stop():
        raise MoveProblem("interrupted; run the command again, or give the move up")
