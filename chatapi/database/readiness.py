"""Whether this process can serve requests."""

import logging

from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor

from chatapi.database.pools import replace_connections

logger = logging.getLogger(__name__)

# True on a standby, and on a read-only primary (managed databases become read-only when their disk is full).
STATE_SQL = """
SELECT pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean, current_setting('server_encoding'),
       to_regclass('conversations') IS NOT NULL AND has_table_privilege('conversations', 'SELECT, INSERT, UPDATE, DELETE')
       AND has_table_privilege('messages', 'SELECT, INSERT, UPDATE, DELETE')
"""

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
            cursor.execute(STATE_SQL)
            is_read_only, encoding, has_rights = cursor.fetchone()
    except DatabaseError:
        logger.warning("database unreachable", exc_info=True)
        return {"database": "unreachable", "migrations": "unknown"}
    if is_read_only:
        replace_connections()
    migrations = "ok" if _is_migrated else "pending"
    if encoding != "UTF8":
        return {"database": f"encoding is {encoding}, not UTF8", "migrations": migrations}
    if _is_migrated and not has_rights:
        return {"database": "the role lacks rights on the tables", "migrations": migrations}
    return {"database": "read-only" if is_read_only else "ok", "migrations": migrations}
