"""Statements that PostgreSQL gets in one message and answers in one.

Each wait for PostgreSQL is a turn of the event loop, which takes tens of milliseconds while hundreds of replies are running.
Each message is a system call, and Django and psycopg do much for each statement that a statement in a fixed form does not need.
So this module hands the statements to libpq itself, in its pipeline mode. psycopg's own pipeline waits after BEGIN, and sends
each statement by itself.

From the second execution of a named statement on (see `statement_names`), its rows come in PostgreSQL's binary form where
psycopg reads all of their types as it reads text: writing a timestamp or an id as text takes PostgreSQL longer than finding it.
"""

import functools
import re
import time
from collections.abc import Generator, Mapping, Sequence
from typing import Any

import psycopg
from django.db import OperationalError, connections
from psycopg.adapt import PyFormat, Transformer
from psycopg.errors import SerializationFailure, error_from_result
from psycopg.pq import ConnStatus, ExecStatus, Format, TransactionStatus
from psycopg.waiting import Ready, Wait

from chatapi.database.statement_names import StatementNames, forget_after, names_of
from chatapi.database.timestamps import with_all_binary_timestamps
from chatapi.observability import metrics

Rows = list[tuple[Any, ...]]
# The SQL, with a place `%(name)s` for each value, and the values.
Statement = tuple[str, Mapping[str, Any]]

PLACE = re.compile(r"%\((\w+)\)s")
# Begins a statement that no single plan suits, whatever its values are.
PLANNED_EACH_TIME = "/* planned each time */ "
UNNAMED = PLANNED_EACH_TIME.encode()
# Until the transaction ends. Sessions ask for one plan for all values.
PLAN_FOR_VALUES_SQL = b"SELECT set_config('plan_cache_mode', 'force_custom_plan', true)"
PROCESS_SQL = b"SELECT pg_backend_pid()"
# Types whose values are the same in Python, whether they came as text or in PostgreSQL's binary form.
READ_AS_BINARY = frozenset(
    number
    for name in ("bool", "int2", "int4", "int8", "float8", "text", "varchar", "uuid", "timestamptz")
    for number in (psycopg.adapters.types[name].oid, psycopg.adapters.types[name].array_oid)
)


def run_together(*statements: Statement, is_last: bool = False, only_reads: bool = False) -> list[Rows]:
    """Run statements in this thread's transaction, in one round trip, and return the rows of each.

    PostgreSQL runs them in order, each with its own snapshot. If one fails, it skips the rest, and its error is raised.
    `is_last` says that the transaction ends with them: then the commit is sent along. Statements that only read are repeated
    where the connection was dead when it was lent.
    """
    connection: Any = connections["default"]
    connection.ensure_connection()
    connection.validate_no_broken_transaction()
    if connection.queries_logged:
        connection.queries_log.extend({"sql": sql, "time": ""} for sql, _ in statements)
    # An inner block, in a test's transaction for example, commits nothing. After this commit, Django's sends nothing.
    commits = is_last and len(connection.atomic_blocks) == 1
    session = connection.connection
    try:
        with connection.wrap_database_errors:
            rows = exchange(session, statements, commits=commits)
    except OperationalError:
        # If the connection was dead before the first statement, another one can run them all if they only read, or have begun a
        # transaction, which is gone.
        may_be_repeated = only_reads or not (commits or session.autocommit)
        if not may_be_repeated or not connection.replace_dead_connection():
            raise
        with connection.wrap_database_errors:
            rows = exchange(connection.connection, statements, commits=commits)
    connection.has_answered = True
    metrics.note_database_reached()
    return rows


def exchange(session: Any, statements: Sequence[Statement], *, commits: bool = False) -> list[Rows]:
    """Do the same on a connection of psycopg's. Without a transaction, the statements are one. Raises psycopg's exceptions."""
    was_idle = session.pgconn.transaction_status == TransactionStatus.IDLE
    try:
        return _exchange(session, statements, commits=commits)
    except psycopg.Error as failure:
        if not forget_after(session, failure):
            raise
        if not was_idle:
            # What this transaction did before is undone.
            raise SerializationFailure("a prepared statement was lost") from failure
    # That was the beginning of a transaction, which has changed nothing.
    return _exchange(session, statements, commits=commits)


def _exchange(session: Any, statements: Sequence[Statement], *, commits: bool) -> list[Rows]:
    pgconn = session.pgconn
    adapting = _adapting(session)
    names = names_of(session)
    messages = [_message(adapting, sql, values) for sql, values in statements]
    sent = _Sent(pgconn, names)
    asks_for_process = names.asks_for_process
    try:
        pgconn.enter_pipeline_mode()
        if not session.autocommit:
            if pgconn.transaction_status == TransactionStatus.INERROR:
                sent.command(b"ROLLBACK")
            if pgconn.transaction_status != TransactionStatus.INTRANS:
                sent.command(b"BEGIN")
        if names.must_be_cleared:
            sent.command(b"DEALLOCATE ALL")
        if names.are_plans_old():
            sent.command(b"DISCARD PLANS")
        places = [sent.statement(*message) for message in messages]
        if asks_for_process:
            process_place = sent.command(PROCESS_SQL)
        if commits:
            sent.command(b"COMMIT")
        pgconn.pipeline_sync()
        results = session.wait(_results(pgconn))
        pgconn.exit_pipeline_mode()
    except BaseException:
        # In the middle of an exchange, it is of no use for another one. The pool replaces it.
        session.close()
        raise
    # See `pools`: for a moment it need not be asked whether it still lives.
    session.answered_at = time.monotonic()
    names.must_be_cleared = False
    # A name outlives a rollback.
    names.known.update(name for name, place in sent.names.items() if results[place].status == ExecStatus.COMMAND_OK)
    for name, place in sent.executed.items():
        if name not in names.formats and results[place].status == ExecStatus.TUPLES_OK:
            names.formats[name] = _best_format(results[place])
    for result in results:
        if result.status == ExecStatus.FATAL_ERROR:
            raise error_from_result(result, session.info.encoding)
    if asks_for_process:
        names.check_process(pgconn.backend_pid, int(results[process_place].get_value(0, 0)))
    return [_rows(adapting, results[place]) for place in places]


class _Sent:
    """What was sent in one exchange. Each message has one result, at the place that is returned."""

    def __init__(self, pgconn: Any, names: StatementNames) -> None:
        self._pgconn = pgconn
        self._names = names
        self._count = 0
        # Where the answers are to the statements that got a name in this exchange, and to all that have one.
        self.names: dict[bytes, int] = {}
        self.executed: dict[bytes, int] = {}

    def command(self, sql: bytes) -> int:
        self._pgconn.send_query_params(sql, None)
        return self._next_place()

    def statement(self, query: bytes, parameters: Any, types: Any, formats: Any) -> int:
        has_plan_of_its_own = query.startswith(UNNAMED)
        name = None if has_plan_of_its_own else self._names.find(query, types)
        if name is None:
            if has_plan_of_its_own:
                self.command(PLAN_FOR_VALUES_SQL)
            self._pgconn.send_query_params(query, parameters, types, formats)
            return self._next_place()
        if name not in self._names.known and name not in self.names:
            self._pgconn.send_prepare(name, query, types)
            self.names[name] = self._next_place()
        self._pgconn.send_query_prepared(name, parameters, formats, self._names.formats.get(name, Format.TEXT))
        self.executed[name] = place = self._next_place()
        return place

    def _next_place(self) -> int:
        self._count += 1
        return self._count - 1


def _adapting(session: Any) -> Any:
    """Return what adapts a connection's values and rows. It keeps what it has found out about their types."""
    adapting = getattr(session, "adapting", None)
    if adapting is None:
        # Of its adapters, not of the connection itself, which would then refer to itself.
        adapting = session.adapting = Transformer(session.adapters)
    return adapting


def _message(adapting: Any, sql: str, values: Mapping[str, Any]) -> tuple[Any, ...]:
    query, names = _numbered(sql)
    parameters = adapting.dump_sequence([values[name] for name in names], [PyFormat.AUTO] * len(names))
    return query, parameters, adapting.types, adapting.formats


@functools.cache
def _numbered(sql: str) -> tuple[bytes, list[str]]:
    """Return SQL with PostgreSQL's own places, `$1` for the first name, and the names."""
    numbers: dict[str, int] = {}
    numbered = PLACE.sub(lambda place: f"${numbers.setdefault(place[1], len(numbers) + 1)}", sql)
    return numbered.encode(), list(numbers)


def _results(pgconn: Any) -> Generator[Wait, Ready, list[Any]]:
    """Send what is left to send, and return one result for each statement. Yields what to wait for."""
    while pgconn.flush():
        if (yield Wait.RW) & Ready.R:
            pgconn.consume_input()
    results: list[Any] = []
    while True:
        while pgconn.is_busy():
            # psycopg's own loop comes back now and then although there is nothing.
            if (yield Wait.R):
                pgconn.consume_input()
        result = pgconn.get_result()
        if result is None:
            # libpq returns None between the results of two statements, and always on a broken connection.
            if pgconn.status != ConnStatus.OK:
                raise psycopg.OperationalError("the connection is lost")
        elif result.status == ExecStatus.PIPELINE_SYNC:
            return results
        else:
            results.append(result)


def _best_format(result: Any) -> Format:
    is_binary = all(result.ftype(column) in READ_AS_BINARY for column in range(result.nfields))
    return Format.BINARY if is_binary else Format.TEXT


def _rows(adapting: Any, result: Any) -> Rows:
    if not result.ntuples:
        return []
    adapting.set_pgresult(result)
    try:
        rows: Rows = adapting.load_rows(0, result.ntuples, tuple)
    except psycopg.DataError:
        # A time that Python does not know.
        patient = Transformer(with_all_binary_timestamps(adapting.adapters))
        patient.set_pgresult(result)
        rows = patient.load_rows(0, result.ntuples, tuple)
    return rows


def read_together(*statements: Statement) -> list[Rows]:
    return run_together(*statements, only_reads=True)
