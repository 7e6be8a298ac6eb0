"""Which failures of the database pass, and which leave the outcome unknown."""

import django.db
import psycopg

from chatapi.service_error import ServiceError

READ_ONLY = "25006"
LOCK_TIMEOUT = "55P03"
# Serialization failure, deadlock, a lock or a statement that took too long: the same statement may succeed later.
PASSING_STATES = {READ_ONLY, "40001", "40P01", LOCK_TIMEOUT, "57014"}
# Connection failures, exhausted resources (53100 is a full disk), a server that ends or starts, failures of its system.
PASSING_CLASSES = ("08", "53", "57P", "58")
WITHOUT_CONNECTION = (django.db.OperationalError, django.db.InterfaceError, psycopg.OperationalError, psycopg.InterfaceError)


class DatabaseUnavailable(ServiceError):
    code = "database_unavailable"
    status = 503
    # A commit may have succeeded although its answer was lost, so the text does not say that nothing changed.
    detail = (
        "The database is unavailable right now. Try again in a moment. "
        "If you were sending a message, use the same Idempotency-Key."
    )


def is_database_away(failure: BaseException) -> bool:
    """Return whether the error is temporary: the database can't work now but may later.

    The SQLSTATE decides, because Django raises `InternalError` for a read-only server and `OperationalError` for a deadlock.
    Without a SQLSTATE, the server was not reached.
    """
    state = sqlstate_of(failure)
    if state:
        return state in PASSING_STATES or state.startswith(PASSING_CLASSES)
    return isinstance(failure, WITHOUT_CONNECTION)


def is_outcome_unknown(failure: BaseException) -> bool:
    """Return whether the connection was lost. If that happened during the commit, the transaction may be committed."""
    state = sqlstate_of(failure)
    return state.startswith(("08", "57P")) if state else isinstance(failure, WITHOUT_CONNECTION)


def sqlstate_of(failure: BaseException) -> str:
    # The cause of Django's exception is psycopg's.
    cause = failure if isinstance(failure, psycopg.Error) else failure.__cause__
    return (cause.sqlstate or "") if isinstance(cause, psycopg.Error) else ""


def is_lock_timeout(failure: BaseException) -> bool:
    """Return whether a statement gave up waiting for a lock."""
    return sqlstate_of(failure) == LOCK_TIMEOUT
