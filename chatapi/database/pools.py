"""Database connections: return them early, keep separate pools beside that of requests, and recognize an absent database."""

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from django.db import connections
from django.db.backends.postgresql.base import DatabaseWrapper
from psycopg_pool import ConnectionPool
from psycopg_pool.base import AttemptWithBackoff

from chatapi.database.failures import is_database_away
from chatapi.database.round_trips import Rows, Statement, exchange
from chatapi.observability import metrics

# By default the pool doubles its pauses, from one second: between attempts to reconnect, and for each dead connection that it
# finds for a request. After a restart of PostgreSQL, ten dead connections would make a request wait for 20 s and fail. After an
# absence of half a minute, the pool would notice the database only half a minute after its return.
AttemptWithBackoff.INITIAL_DELAY = 0.2
AttemptWithBackoff.DELAY_BACKOFF = 1.0

# How long each of a pool's four threads may take to end. Only a thread that connects to an absent database needs longer.
POOL_THREAD_END_S = 0.5

RENEWAL_PAUSE_S = 1.0
# How long a connection that has answered is used without being asked again.
SURE_FOR_S = 1.0

_renewed_at = 0.0


def replace_connections() -> None:
    """Have the request pool replace its connections, at most once a second."""
    global _renewed_at
    now = time.monotonic()
    if now - _renewed_at > RENEWAL_PAUSE_S:
        _renewed_at = now
        # The types describe the connections of every database, and only PostgreSQL's have a pool.
        connection: Any = connections["default"]
        connection.pool.drain()


def _check(connection: Any) -> None:
    """Raise psycopg's error if a pool's connection is dead.

    A server that ends a session, stops or crashes closes the connection. Reading from the socket without waiting shows that. A
    machine that vanishes closes nothing, so one that has not answered for SURE_FOR_S is also asked: that costs a wait.
    """
    try:
        # The first read may return the server's last message. Then the second one finds the end.
        connection.pgconn.consume_input()
        connection.pgconn.consume_input()
        now = time.monotonic()
        if now - getattr(connection, "answered_at", 0.0) > SURE_FOR_S:
            _simple_check(connection)
            connection.answered_at = now
            metrics.note_database_reached()
    except psycopg.Error:
        # One is dead: so are the others, most likely, and each would be found by a request that then has to wait.
        replace_connections()
        raise


_simple_check = ConnectionPool.check_connection
ConnectionPool.check_connection = staticmethod(_check)  # type: ignore[assignment, method-assign]


class _NewestFirst(deque[Any]):
    """The free connections of a pool, of which it lends the one that came back last.

    psycopg's pool lends them in turn. Then each session of PostgreSQL is idle for long, is asked whether it still lives, makes
    plans of its own, and its memory is in no cache of a processor.
    """

    def append(self, connection: Any) -> None:
        self.appendleft(connection)


def lend_newest_first(pool: Any) -> None:
    """Have a pool of psycopg's lend the connection that came back last. It has none yet."""
    if not isinstance(pool._pool, _NewestFirst):
        pool._pool = _NewestFirst()


class SeparatePool:
    """Connections for one purpose. What exhausts the pool of requests leaves these alone, and the other way round."""

    def __init__(self, name: str, *, size: int, timeout_s: float) -> None:
        self._name = name
        self._options = {"min_size": 1, "max_size": size, "timeout": timeout_s, "max_idle": 60}
        self._owner: Any = None

    @contextmanager
    def cursor(self) -> Iterator[Any]:
        """Lend a connection's cursor; each statement is a transaction. Raises psycopg's exceptions."""
        with self._lend() as session, session.cursor() as cursor:
            yield cursor

    def run(self, *statements: Statement) -> list[Rows]:
        """Run statements in a transaction and in one round trip; return the rows of each. Raises psycopg's exceptions."""
        with self._lend() as session:
            return exchange(session, statements)

    @contextmanager
    def _lend(self) -> Iterator[Any]:
        pool = self._open()
        session = pool.getconn()
        try:
            yield session
            metrics.note_database_reached()
        except Exception as failure:
            if is_database_away(failure):
                # Its session may stay read-only, as in `api.errors`. The pool replaces a closed connection.
                session.close()
            raise
        finally:
            pool.putconn(session)

    def close(self) -> None:
        """Close all connections; the next use opens new ones."""
        if self._owner is not None:
            self._owner.close_pool()
            self._owner = None

    def _open(self) -> Any:
        if self._owner is None:
            # A connection of Django's that lends its pool: the same address, time zone, role and checks, another size.
            owner: Any = connections["default"].copy(alias=self._name)
            owner.settings_dict["OPTIONS"]["pool"] = self._options
            self._owner = owner
        pool = self._owner.pool
        pool.open()
        return pool


def _all_pools() -> dict[str, ConnectionPool]:
    """Return Django's pools of this process, by the alias of their connections."""
    wrapper: Any = DatabaseWrapper
    pools: dict[str, ConnectionPool] = wrapper._connection_pools
    return pools


def sample_pools() -> None:
    """Set the gauges of this process's connection pools."""
    pools = _all_pools()
    for alias, pool in list(pools.items()):
        name = "requests" if alias == "default" else alias
        figures = pool.get_stats()
        metrics.pool_limit.labels(name).set(figures["pool_max"])
        metrics.pool_in_use.labels(name).set(figures["pool_size"] - figures["pool_available"])
        metrics.pool_waiting.labels(name).set(figures["requests_waiting"])


def close_pools() -> None:
    """Close the connection pools of this process for good: a thread that asks for a connection afterwards gets an error.

    Called at the end of every process. A pool that is still open is closed by the interpreter, which waits for the pool's
    threads when they can no longer run: from Python 3.13 on, for 5 s each or forever.
    """
    # Not through Django's `close_pool`, which forgets the pool: a thread that still runs would open the next one.
    pools = _all_pools()
    for pool in list(pools.values()):
        pool.close(POOL_THREAD_END_S)
