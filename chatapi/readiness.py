"""Whether this process can serve requests."""

import logging

from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor

from chatapi.database import replace_connections

logger = logging.getLogger(__name__)

# True on a standby, and on a read-only primary (managed databases become read-only when their disk is full).
READ_ONLY_SQL = "SELECT pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean"

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
            cursor.execute(READ_ONLY_SQL)
            (is_read_only,) = cursor.fetchone()
    except DatabaseError:
        logger.warning("database unreachable", exc_info=True)
        return {"database": "unreachable", "migrations": "unknown"}
    if is_read_only:
        replace_connections()
    return {"database": "read-only" if is_read_only else "ok", "migrations": "ok" if _is_migrated else "pending"}
