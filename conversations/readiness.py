"""Whether this process can serve requests, and what it found when it started."""

import logging
import threading

from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from psycopg.errors import InsufficientPrivilege

from chatapi.database.connections import release_connections
from chatapi.database.pools import replace_connections
from chatapi.database.server_parameters import FORMS

logger = logging.getLogger(__name__)

# With another value, sends fail or times are misread. Each session sets them, but behind a pooler the role's own values count.
RELIED_ON = ("default_transaction_isolation", "DateStyle", "IntervalStyle", "bytea_output", "standard_conforming_strings")
# True on a standby, and on a read-only primary: managed databases become read-only when their disk is full.
STATE_SQL = """
SELECT pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean, current_setting('server_encoding'),
       current_schema(),
       to_regclass('conversations') IS NOT NULL AND has_table_privilege('conversations', 'SELECT, INSERT, UPDATE, DELETE')
       AND has_table_privilege('messages', 'SELECT, INSERT, UPDATE, DELETE'),
       ARRAY(SELECT current_setting(name) FROM unnest(%s::text[]) WITH ORDINALITY AS wanted (name, place) ORDER BY place)
"""
FOUND_SQL = """
SELECT current_setting('server_version'), current_setting('server_encoding'), current_setting('default_transaction_isolation'),
       current_setting('statement_timeout'), current_schema()
"""
NO_RIGHTS = "the role lacks rights on the tables"

# Once migrated, a database stays migrated for the life of the process.
_is_migrated = False


def check_readiness() -> dict[str, str]:
    """Return each check with its result: `ok` or the problem."""
    global _is_migrated
    try:
        if not _is_migrated:
            executor = MigrationExecutor(connection)
            _is_migrated = not executor.migration_plan(executor.loader.graph.leaf_nodes())
        with connection.cursor() as cursor:
            cursor.execute(STATE_SQL, [list(RELIED_ON)])
            is_read_only, encoding, schema, has_rights, settings = cursor.fetchone()
    except DatabaseError as failure:
        if isinstance(failure.__cause__, InsufficientPrivilege):
            return {"database": NO_RIGHTS, "migrations": "unknown"}
        logger.warning("database unreachable", extra={"error": _first_line(failure)})
        return {"database": "unreachable", "migrations": "unknown"}
    if is_read_only:
        replace_connections()
    problem = (
        _problem_of(encoding, schema, settings)
        or (NO_RIGHTS if _is_migrated and not has_rights else "")
        or ("read-only" if is_read_only else "")
    )
    return {"database": problem or "ok", "migrations": "ok" if _is_migrated else "pending"}


def _problem_of(encoding: str, schema: str | None, settings: list[str]) -> str:
    """Return what a person must change before the service can work with this database, or ""."""
    if encoding != "UTF8":
        return f"encoding is {encoding}, not UTF8"
    if schema is None:
        return "search_path names no schema that the role may use"
    for name, found in zip(RELIED_ON, settings, strict=True):
        # The second part of DateStyle only says how to read dates that have another form than ours.
        if found.split(",")[0] != FORMS[name].split(",")[0]:
            return f"{name} is {found}, not {FORMS[name]}: change it for the role or the pooler"
    return ""


def _first_line(failure: BaseException) -> str:
    return (str(failure).splitlines() or [type(failure).__name__])[0][:200]


def report_database() -> None:
    """Log in one line which database this process has found, or what is wrong with it. Does not wait for it."""
    threading.Thread(target=_report, name="database-report", daemon=True).start()


def _report() -> None:
    try:
        problems = {name: result for name, result in check_readiness().items() if result != "ok"}
        if problems:
            logger.error("this process is not ready", extra=problems)
            return
        with connection.cursor() as cursor:
            cursor.execute(FOUND_SQL)
            names = ("postgresql", "encoding", "isolation", "statement_timeout", "schema")
            logger.info("database found", extra=dict(zip(names, cursor.fetchone(), strict=True)))
    except DatabaseError as failure:
        logger.error("this process is not ready", extra={"error": _first_line(failure)})
    finally:
        release_connections()
