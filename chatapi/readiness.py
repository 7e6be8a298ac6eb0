"""Whether this process can serve requests."""

import logging

from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor

logger = logging.getLogger(__name__)

# A database that was migrated once stays so for the life of a process.
_is_migrated = False


def check_readiness() -> dict[str, str]:
    """Return what was checked and how it went: `ok`, or what is the matter."""
    global _is_migrated
    try:
        if not _is_migrated:
            executor = MigrationExecutor(connection)
            _is_migrated = not executor.migration_plan(executor.loader.graph.leaf_nodes())
        else:
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1")
    except DatabaseError:
        logger.warning("database not reachable", exc_info=True)
        return {"database": "unreachable", "migrations": "unknown"}
    return {"database": "ok", "migrations": "ok" if _is_migrated else "pending"}
