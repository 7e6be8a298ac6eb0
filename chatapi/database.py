"""Giving database connections back early."""

from django.db import connections


def release_connections() -> None:
    """Give this thread's database connections back to the pool.

    Called before every wait for another service and before the first byte of every stream: a request that waits must not
    hold a connection that others need. A connection inside a transaction (a test's, for example) is left alone.
    """
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close()
