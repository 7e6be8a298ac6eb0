"""Reads from a standby, where users can't notice it: lists, search, usage, the admin's pages, exports.

Principle: the replica must prove that it has everything that was committed until DATABASE_REPLICA_MAX_LAG ago, and the reader's
own writes (see docs/decisions/0011). Otherwise the primary answers, also where a read fails. So a replica that is behind, away,
restarted or promoted costs time, but never causes a wrong answer or an error.

Positions of two servers can only be compared on one timeline: a standby that did not follow the primary through a fail-over may
have a higher position and lack the newest commits.

A replica that hangs closes no connection and can't end its own statements. So the proof has a short time limit on this side. A
query may take longer, but only while the watching thread gets its answers: if it gets none in time, all queries are ended, and
the primary answers them.
"""

import functools
import logging
import math
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import django.db
import psycopg
from django.conf import settings
from django.db import connections
from psycopg_pool import PoolTimeout

from chatapi.database.base import DatabaseWrapper
from chatapi.database.failures import is_outcome_unknown
from chatapi.database.recent_writes import has_written, make_up_for_lost_marks
from chatapi.database.round_trips import Statement
from chatapi.deadlines import Deadline
from chatapi.observability import metrics

logger = logging.getLogger(__name__)

T = TypeVar("T")

PAUSE_S = 1.0
# A replica that is away is asked less often.
AWAY_PAUSE_S = 5.0
MOST_POSITIONS = 64
# How long the replica may take to say how far it is, which costs it almost nothing.
ANSWER_S = 1.0
# How long one block of reads may take: a single process of the replica may hang. Longer than staff's slowest pages.
READS_S = 60.0

# Not the position that is on disk: with `synchronous_commit = off`, commits are visible before.
PRIMARY_SQL = """
SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint, left(pg_walfile_name(pg_current_wal_insert_lsn()), 8)
"""
# A standby's control file names the timeline of its last restart point, which after a fail-over may be minutes later. Until
# then its timeline is not proved.
REPLICA_SQL = """
SELECT CASE WHEN pg_is_in_recovery() THEN pg_wal_lsn_diff(pg_last_wal_replay_lsn(), '0/0')::bigint END, timeline_id
FROM pg_control_checkpoint()
"""
FRESH_SQL = """
SELECT pg_is_in_recovery() AND pg_wal_lsn_diff(pg_last_wal_replay_lsn(), '0/0') >= %(lsn)s AND timeline_id = %(timeline)s
FROM pg_control_checkpoint()
"""


class ReplicaUnfit(Exception):
    """The replica lacks what this reader may expect."""


@dataclass(frozen=True, slots=True)
class Position:
    """How far the primary's log was at a time, by this process's monotonic clock."""

    at: float
    lsn: int
    timeline: int


@contextmanager
def _answer_within(session: Any, seconds: float) -> Iterator[None]:
    """Let a session of psycopg's fail when the time is over: what waits for it gets the end of its connection at once."""
    deadline = Deadline(time.monotonic() + seconds, lambda: _shut_down(session))
    try:
        yield
    finally:
        deadline.cancel()


def _shut_down(session: Any) -> None:
    # It may have been closed meanwhile.
    with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(session.pgconn.socket)) as connected:
        connected.shutdown(socket.SHUT_RDWR)


class ReplicaPool(DatabaseWrapper):
    """The owner of the pool that all threads share. Django knows a pool by the alias of its owner."""

    def __init__(self) -> None:
        super().__init__(_replica_settings(), "replica")

    def _configure_connection(self, connection: Any) -> bool:
        super()._configure_connection(connection)
        # A standby is read-only anyway. So the session stays read-only if the standby is promoted.
        connection.execute("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY")
        return True


class ReplicaConnection(DatabaseWrapper):
    """A connection to the replica, which is asked each time that it comes from the pool. Raises `ReplicaUnfit`.

    Its alias is the primary's, because Django finds a connection by its alias.
    """

    def __init__(self, needed: Position, condition: Statement | None) -> None:
        super().__init__(_replica_settings(), "default")
        self._needed = needed
        self._condition = condition

    @property
    def pool(self) -> Any:
        return _pool_owner().pool

    def _take_share(self) -> None:
        """Do nothing: the shares are of the primary's pool. If this one is empty, the primary answers."""

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        connection = super().get_new_connection(conn_params)
        try:
            with _answer_within(connection, ANSWER_S):
                self._require_fresh(connection)
        except BaseException:
            self.pool.putconn(connection)
            raise
        # So it is not replaced by another one if it dies now: the primary answers.
        self.has_answered = True
        self._deadline = Deadline(time.monotonic() + READS_S, lambda: _shut_down(connection))
        _lent.add(self)
        return connection

    def end_reads(self) -> None:
        """Let what waits for this connection fail. For another thread."""
        self._deadline.expire()

    def _close(self) -> None:
        if self in _lent:
            _lent.discard(self)
            self._deadline.cancel()
        super()._close()

    def _require_fresh(self, connection: Any) -> None:
        with connection.cursor() as fresh, connection.cursor() as met:
            with connection.pipeline():
                needed = self._needed
                fresh.execute(FRESH_SQL, {"lsn": needed.lsn, "timeline": needed.timeline})
                # A statement of its own: its snapshot must be newer than the answer to the first.
                if self._condition is not None:
                    met.execute(*self._condition)
            if not fresh.fetchone()[0] or (self._condition is not None and not met.fetchone()[0]):
                raise ReplicaUnfit


# The connections that reads use now.
_lent: set[ReplicaConnection] = set()


def _replica_settings() -> dict[str, Any]:
    return {**connections["default"].settings_dict, **(settings.DATABASE_REPLICA or {})}


@functools.cache
def _pool_owner() -> ReplicaPool:
    return ReplicaPool()


class Session:
    """A connection of the watch. It is opened again after a failure."""

    def __init__(self, wrapper: Callable[[], Any], answer_s: float | None = None) -> None:
        self._wrapper = wrapper
        self._answer_s = answer_s
        self._connection: Any = None

    def ask(self, sql: str) -> Any:
        """Return the first row. Raises psycopg's exceptions."""
        try:
            if self._connection is None:
                self._connection = psycopg.connect(**self._wrapper().get_connection_params(), autocommit=True)
            with nullcontext() if self._answer_s is None else _answer_within(self._connection, self._answer_s):
                return self._connection.execute(sql).fetchone()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


class Watch:
    """Know the primary's latest positions, and whether the replica can be used."""

    def __init__(self) -> None:
        self._primary = Session(lambda: connections["default"])
        self._replica = Session(_pool_owner, ANSWER_S)
        self._positions: deque[Position] = deque(maxlen=MOST_POSITIONS)
        self._ask_replica_at = 0.0
        # When the replica was last known to be as far as the primary.
        self._up_to_date_at = -math.inf
        self._is_usable: bool | None = None

    def needed(self) -> Position | None:
        """Return the position that the replica must have replayed, or None if the primary must answer."""
        if not self._is_usable:
            return None
        oldest = time.monotonic() - settings.DATABASE_REPLICA_MAX_LAG
        return next((position for position in tuple(self._positions) if position.at >= oldest), None)

    def note_lost(self) -> None:
        """Do not use the replica until it answers the watch again."""
        self._note_usable(False, "connection lost")
        _pool_owner().pool.drain()

    def run(self) -> None:
        """Look at both servers from now on."""
        while True:
            try:
                make_up_for_lost_marks()
                self._look_at_primary()
                if time.monotonic() >= self._ask_replica_at:
                    self._look_at_replica()
            except Exception:
                # The watch must outlive whatever goes wrong in one round.
                logger.exception("looking at the replica failed unexpectedly")
            time.sleep(PAUSE_S)

    def _look_at_primary(self) -> None:
        at = time.monotonic()
        try:
            lsn, timeline = self._primary.ask(PRIMARY_SQL)
        except psycopg.Error:
            # It is away, or it is not the primary any more. Without new positions, nothing is read from the replica.
            return
        position = Position(at, lsn, int(timeline, 16))
        last = self._positions[-1] if self._positions else position
        if position.timeline != last.timeline or position.lsn < last.lsn:
            self._positions.clear()
        # The positions reach back further than DATABASE_REPLICA_MAX_LAG.
        if not self._positions or at - last.at >= 2 * settings.DATABASE_REPLICA_MAX_LAG / MOST_POSITIONS:
            self._positions.append(position)

    def _look_at_replica(self) -> None:
        try:
            lsn, timeline = self._replica.ask(REPLICA_SQL)
        except psycopg.Error as failure:
            self._note_away(failure)
            for lent in tuple(_lent):
                lent.end_reads()
            _pool_owner().pool.drain()
            return
        if lsn is None:
            # Promoted. The next connection may lead to another server.
            self._replica.close()
            self._note_away(None)
            return
        reached = [one.at for one in tuple(self._positions) if one.lsn <= lsn and one.timeline == timeline]
        self._up_to_date_at = max([self._up_to_date_at, *reached])
        lag_s = time.monotonic() - self._up_to_date_at
        metrics.replica_lag.set(lag_s)
        self._note_usable(lag_s <= settings.DATABASE_REPLICA_MAX_LAG)

    def _note_away(self, failure: BaseException | None) -> None:
        self._ask_replica_at = time.monotonic() + AWAY_PAUSE_S
        self._up_to_date_at = -math.inf
        metrics.replica_lag.set(math.inf)
        self._note_usable(False, type(failure).__name__ if failure else "not a standby")

    def _note_usable(self, is_usable: bool, error: str = "") -> None:
        was_usable, self._is_usable = self._is_usable, is_usable
        if is_usable and not was_usable:
            logger.info("reading from the replica")
        elif not is_usable and (was_usable or (was_usable is None and error)):
            logger.warning("not reading from the replica", extra={"error": error or "it is behind"})


_watch = Watch()


def watch_replica() -> None:
    """Watch the replica in a thread, if there is one. Called once; without it, everything is read from the primary."""
    if settings.DATABASE_REPLICA is not None:
        threading.Thread(target=_watch.run, name="replica-watch", daemon=True).start()


def read(function: Callable[[], T], *, reader: str, condition: Statement | None = None) -> T:
    """Call a function that only reads, with the replica in the place of the primary if that has what `reader` may expect.

    If that fails, call the function again, with the primary. `reader` is a key of `recent_writes`, and `condition` a statement
    that returns true if the replica has what the reader may expect.
    """
    if settings.DATABASE_REPLICA is None:
        return function()
    primary = connections["default"]
    if primary.in_atomic_block or isinstance(primary, ReplicaConnection):
        return function()
    needed = _watch.needed()
    if needed is None:
        return function()
    # Nothing holds a connection of the primary while it waits for the cache or for the replica.
    primary.close()
    if has_written(reader):
        return function()
    try:
        with _in_place_of_primary(ReplicaConnection(needed, condition)):
            return function()
    except (django.db.Error, psycopg.Error, ReplicaUnfit) as failure:
        _note_failure(failure)
    return function()


@contextmanager
def _in_place_of_primary(replica: ReplicaConnection) -> Iterator[None]:
    primary = connections["default"]
    connections["default"] = replica
    try:
        yield
    finally:
        connections["default"] = primary
        replica.close()


def _note_failure(failure: BaseException) -> None:
    if isinstance(failure, ReplicaUnfit):
        return
    cause = failure if isinstance(failure, psycopg.Error) else failure.__cause__
    logger.warning("reading from the replica failed; the primary answers", extra={"error": type(cause or failure).__name__})
    # All its connections may be lent. The watch has one of its own.
    if is_outcome_unknown(failure) and not isinstance(cause, PoolTimeout):
        _watch.note_lost()
