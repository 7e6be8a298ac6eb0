"""Statements that PostgreSQL gets in one message and answers in one.

Each wait for PostgreSQL is a turn of the event loop, which takes tens of milliseconds while hundreds of replies are running.
Each message is a system call, and Django and psycopg do much for each statement that a statement in a fixed form does not need.
So this module hands the statements to libpq itself, in its pipeline mode. psycopg's own pipeline waits after BEGIN, and sends
each statement by itself.
"""

import functools
import re
from collections.abc import Generator, Mapping, Sequence
from typing import Any

import psycopg
from django.db import OperationalError, connections
from psycopg.adapt import PyFormat, Transformer
from psycopg.errors import error_from_result
from psycopg.pq import ConnStatus, ExecStatus, TransactionStatus
from psycopg.waiting import Ready, Wait

Rows = list[tuple[Any, ...]]
# The SQL, with a place `%(name)s` for each value, and the values.
Statement = tuple[str, Mapping[str, Any]]

PLACE = re.compile(r"%\((\w+)\)s")


def run_together(*statements: Statement, is_last: bool = False) -> list[Rows]:
    """Run statements in this thread's transaction, in one round trip, and return the rows of each.

    PostgreSQL runs them in order, each with its own snapshot. If one fails, it skips the rest, and its error is raised.
    `is_last` says that the transaction ends with them: then the commit is sent along.
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
        # If the connection was dead before the first statement, another one can run them all: they have begun a transaction,
        # which is gone.
        if commits or session.autocommit or not connection.replace_dead_connection():
            raise
        with connection.wrap_database_errors:
            rows = exchange(connection.connection, statements, commits=commits)
    connection.has_answered = True
    return rows


def exchange(session: Any, statements: Sequence[Statement], *, commits: bool = False) -> list[Rows]:
    """Do the same on a connection of psycopg's. Without a transaction, the statements are one. Raises psycopg's exceptions."""
    pgconn = session.pgconn
    adapting = _adapting(session)
    messages = [_message(adapting, sql, values) for sql, values in statements]
    begins = not session.autocommit and pgconn.transaction_status == TransactionStatus.IDLE
    try:
        pgconn.enter_pipeline_mode()
        if begins:
            pgconn.send_query_params(b"BEGIN", None)
        for message in messages:
            pgconn.send_query_params(*message)
        if commits:
            pgconn.send_query_params(b"COMMIT", None)
        pgconn.pipeline_sync()
        results = session.wait(_results(pgconn))
        pgconn.exit_pipeline_mode()
    except BaseException:
        # In the middle of an exchange, it is of no use for another one. The pool replaces it.
        session.close()
        raise
    for result in results:
        if result.status == ExecStatus.FATAL_ERROR:
            raise error_from_result(result, session.info.encoding)
    first = 1 if begins else 0
    return [_rows(adapting, result) for result in results[first : first + len(statements)]]


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


def _rows(adapting: Any, result: Any) -> Rows:
    if not result.ntuples:
        return []
    adapting.set_pgresult(result)
    rows: Rows = adapting.load_rows(0, result.ntuples, tuple)
    return rows


def read_together(*statements: Statement) -> list[Rows]:
    """Run statements that only read like `run_together`. They may be repeated where a connection was dead when it was lent."""
    try:
        return run_together(*statements)
    except OperationalError:
        if not connections["default"].replace_dead_connection():  # type: ignore[attr-defined]
            raise
    return run_together(*statements)
