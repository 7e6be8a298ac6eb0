"""Giving database connections back early, getting new ones soon after the database was away, and closing them at the end."""

from django.db import connections
from django.db.backends.postgresql.base import DatabaseWrapper
from psycopg_pool import ConnectionPool
from psycopg_pool.base import AttemptWithBackoff

# Out of the box the pool doubles its pauses, from one second: between attempts to reconnect, and for each dead connection
# that it finds when a request wants one. Ten connections that died with a restart of PostgreSQL would make a request wait
# for 20 s and fail, and a database that is back after half a minute would go unnoticed for as long again.
AttemptWithBackoff.INITIAL_DELAY = 0.2
AttemptWithBackoff.DELAY_BACKOFF = 1.0

# How long each of a pool's four threads may take to end. Only one that is connecting to an absent database needs longer.
POOL_THREAD_END_S = 0.5


def release_connections() -> None:
    """Give this thread's database connections back to the pool.

    Called before every wait for another service and before the first byte of every stream: a request that waits must not
    hold a connection that others need. A connection inside a transaction (a test's, for example) is left alone.
    """
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close()


def close_pools() -> None:
    """Close the connection pools of this process for good: a thread that asks for a connection afterwards gets an error.

    Called at the end of every process. A pool that is still open is closed by the interpreter, which waits for the pool's
    threads when they can no longer run: from Python 3.13 on, for 5 s each or for ever.
    """
    # Not through Django's `close_pool`, which forgets the pool: a thread that still runs would open the next one.
    pools: dict[str, ConnectionPool] = DatabaseWrapper._connection_pools  # type: ignore[attr-defined]
    for pool in list(pools.values()):
        pool.close(POOL_THREAD_END_S)
