"""Giving database connections back early, and getting new ones soon after the database was away."""

from django.db import connections
from psycopg_pool.base import AttemptWithBackoff

# Out of the box the pool doubles its pauses, from one second: between attempts to reconnect, and for each dead connection
# that it finds when a request wants one. Ten connections that died with a restart of PostgreSQL would make a request wait
# for 20 s and fail, and a database that is back after half a minute would go unnoticed for as long again.
AttemptWithBackoff.INITIAL_DELAY = 0.2
AttemptWithBackoff.DELAY_BACKOFF = 1.0


def release_connections() -> None:
    """Give this thread's database connections back to the pool.

    Called before every wait for another service and before the first byte of every stream: a request that waits must not
    hold a connection that others need. A connection inside a transaction (a test's, for example) is left alone.
    """
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close()
