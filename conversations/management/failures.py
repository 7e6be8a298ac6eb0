"""What a command prints when the database or a file fails: one line, which never quotes a row."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from django.core.management.base import CommandError
from django.db import DatabaseError, InterfaceError, connections
from psycopg_pool import PoolTimeout

# Connection failures, refused sign-ins, databases that do not exist, exhausted resources, servers that end.
TOLD_CLASSES = ("08", "28", "3D", "53", "57P")


@contextmanager
def failing_clearly(file_work: str = "", advice: str = "") -> Iterator[None]:
    """Turn failures of the database and, with `file_work` ("Cannot write the archive"), of files into a `CommandError`.

    `advice` is a sentence for those of files.
    """
    try:
        yield
    except (DatabaseError, InterfaceError) as failure:
        raise CommandError(f"The database failed: {reason_of(failure)}. Run the command again.") from failure
    except OSError as failure:
        if not file_work:
            raise
        raise CommandError(f"{file_work}: {failure}{'. ' if advice else ''}{advice}") from None


def reason_of(failure: Exception) -> str:
    """Return what failed: host and reason of a connection, or the kind of error and the constraint, without any value."""
    cause = failure if isinstance(failure, psycopg.Error) else failure.__cause__
    if isinstance(cause, PoolTimeout):
        # The pool tries in the background and does not say why it fails.
        cause = _reason_without_connection() or cause
    if not isinstance(cause, psycopg.Error):
        return type(failure).__name__
    state = cause.sqlstate or ""
    if not state or state.startswith(TOLD_CLASSES):
        # The message names host, port, user and database, and no row.
        return " ".join(str(cause).split()).rstrip(".?") or type(cause).__name__
    constraint = f" ({cause.diag.constraint_name})" if cause.diag.constraint_name else ""
    return f"{type(cause).__name__}{constraint}"


def _reason_without_connection() -> psycopg.Error | None:
    """Connect once, apart from the pool, and return what fails."""
    parameters = connections["default"].get_connection_params()
    for name in ("pool", "context"):
        parameters.pop(name, None)
    try:
        psycopg.connect(**parameters).close()
    except psycopg.Error as failure:
        return failure
    return None
