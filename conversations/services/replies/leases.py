"""Which workers live. Each worker renews its own row of `workers`, and judges the others by what it has seen itself.

Principle: silence has more causes than death. A worker renews its lease on a connection of its own, in a statement that touches
nothing else, so neither a lock on `messages` nor a slow checkpoint keeps it from doing so. A reader compares a lease with its
own last reading, and counts on its own clock for how long the lease has not changed. It reads only after it could renew its own
lease: while no worker can write, no worker is judged. After a gap between two readings, counting starts anew.

A worker is dead if its lease has not changed for ABANDONED_AFTER_SECONDS, or sooner by a proof: its process is gone from this
machine, or PostgreSQL has released the advisory lock that the lease's session held. A restart of PostgreSQL releases all locks,
so a lock counts only while the server that gave it still runs, and only with a lease that has not changed for some seconds.
"""

import logging
import threading
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from django.conf import settings

from chatapi.database.failures import is_database_away
from chatapi.database.pools import SeparatePool
from conversations.services.replies.processes import Process, this_process

logger = logging.getLogger(__name__)

# How often a lease is renewed and the others are read: every 2 s where workers count as dead after 30 s.
RENEWALS_PER_AGE = 15
# How long a lease must be unchanged, and its lock free, to prove a death: 5 s of those 30 s.
PROOFS_PER_AGE = 6
# A session that was lost frees its lock too, and a busy machine needs a moment to open another one.
LEAST_PROOF_S = 2.0
# Two readings further apart than this are not compared: 5 s of those 30 s.
GAPS_PER_AGE = 6
LEAST_GAP_S = 1.0
POOL_WAIT_S = 5.0

# A pooler that gives each transaction another session invents the process id that it tells its clients. Only a session whose
# own id is the one that libpq was told belongs to this connection alone, and can hold a lock for it.
RENEW_SQL = """
INSERT INTO workers AS lease (id, renewals, host, boot, pid, process_start, lock_server)
SELECT %(id)s::uuid, 1, %(host)s, %(boot)s, %(pid)s::bigint, %(process_start)s::bigint,
       CASE WHEN pg_backend_pid() = %(backend_pid)s::int
            THEN CASE WHEN pg_try_advisory_lock(hashtextextended('worker:' || %(id)s::text, 0))
                      THEN extract(epoch FROM pg_postmaster_start_time())::text END
       END
ON CONFLICT (id) DO UPDATE SET renewals = lease.renewals + 1, lock_server = excluded.lock_server
"""

# Shared, so that readers do not take the lock from each other.
READ_SQL = """
SELECT id, renewals, host, boot, pid, process_start,
       CASE WHEN id = ANY(%(suspects)s::uuid[]) AND lock_server = extract(epoch FROM pg_postmaster_start_time())::text
            THEN pg_try_advisory_xact_lock_shared(hashtextextended('worker:' || id::text, 0))
            ELSE false
       END
FROM workers WHERE id <> %(id)s::uuid
"""

FORGET_SQL = """
DELETE FROM workers WHERE id = ANY(%s::uuid[])
AND NOT EXISTS (SELECT FROM messages WHERE messages.status = 'streaming' AND messages.worker = workers.id)
"""

# A worker removes its own lease at its end, unless replies still name it: then others must find it dead.
FORGET_OWN_SQL = """
DELETE FROM workers WHERE id = %(id)s::uuid
AND NOT EXISTS (SELECT FROM messages WHERE messages.status = 'streaming' AND messages.worker = workers.id)
"""


@dataclass(slots=True)
class _Seen:
    """What is known of another worker. `renewals` is None if it has no lease, although a running reply names it."""

    renewals: int | None
    unchanged_since: float
    free_since: float | None = None
    is_gone: bool = False


@dataclass(frozen=True, slots=True)
class Reading:
    """Another worker's lease, as it was read."""

    worker_id: UUID
    renewals: int
    process: Process
    is_lock_free: bool = False


class LeaseWatch:
    """Judge the other workers by successive readings of their leases. Asks no database and no clock."""

    def __init__(self, here: Process) -> None:
        self._here = here
        self._seen: dict[UUID, _Seen] = {}
        self._named: frozenset[UUID] = frozenset()
        self._read_at: float | None = None

    def suspects(self) -> list[UUID]:
        """Return the workers whose lease has not changed between the last two readings."""
        return [each for each, seen in self._seen.items() if self._read_at is not None and seen.unchanged_since < self._read_at]

    def note_named(self, worker_ids: Collection[UUID]) -> None:
        """Remember which workers running replies name. One of them may have no lease."""
        self._named = frozenset(worker_ids)

    def take(self, readings: Collection[Reading], now: float) -> frozenset[UUID]:
        """Compare leases with the last reading, and return the dead workers."""
        age_s: float = settings.ABANDONED_AFTER_SECONDS
        if self._read_at is None or now - self._read_at > max(LEAST_GAP_S, age_s / GAPS_PER_AGE):
            # What happened between the two readings is unknown.
            self._seen.clear()
        self._read_at = now
        known, self._seen = self._seen, {}
        for reading in readings:
            seen = known.get(reading.worker_id)
            if seen is None or seen.renewals != reading.renewals:
                seen = _Seen(reading.renewals, now)
            if not reading.is_lock_free:
                seen.free_since = None
            elif seen.free_since is None:
                seen.free_since = now
            seen.is_gone = reading.process.is_gone(self._here)
            self._seen[reading.worker_id] = seen
        for worker_id in self._named.difference(self._seen):
            seen = known.get(worker_id)
            self._seen[worker_id] = seen if seen is not None and seen.renewals is None else _Seen(None, now)
        return frozenset(each for each, seen in self._seen.items() if _is_dead(seen, now, age_s))


def _is_dead(seen: _Seen, now: float, age_s: float) -> bool:
    if seen.is_gone or now - seen.unchanged_since >= age_s:
        return True
    proven_after_s = max(LEAST_PROOF_S, age_s / PROOFS_PER_AGE)
    is_lock_free = seen.free_since is not None and now - seen.free_since >= proven_after_s
    return is_lock_free and now - seen.unchanged_since >= proven_after_s


class Lease:
    """This worker's lease, and its knowledge of the others. One thread renews and reads."""

    def __init__(self, pool: SeparatePool, clock: Callable[[], float] = time.monotonic) -> None:
        self.worker_id = uuid4()
        self._pool = pool
        self._clock = clock
        self._process = this_process()
        self._watch = LeaseWatch(self._process)
        self._dead: frozenset[UUID] = frozenset()
        self._marked: frozenset[UUID] = frozenset()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._is_over = threading.Event()
        self._is_away = False

    @property
    def dead_workers(self) -> list[UUID]:
        """The workers that this one has found dead."""
        return list(self._dead)

    @property
    def has_news(self) -> bool:
        """Whether this worker has found another one dead since it last marked replies."""
        return not self._dead <= self._marked

    def note_marked(self, worker_ids: Collection[UUID]) -> None:
        """Remember that the replies of these workers are marked."""
        self._marked = frozenset(worker_ids)

    def note_named(self, worker_ids: Collection[UUID]) -> None:
        """Remember which workers running replies name."""
        self._watch.note_named([each for each in worker_ids if each != self.worker_id])

    def keep(self) -> None:
        """Start renewing where nothing does it yet."""
        thread = self._thread
        if self._is_over.is_set() or (thread is not None and thread.is_alive()):
            return
        with self._lock:
            if self._thread is thread:
                self._thread = threading.Thread(target=self._run, name="worker-lease", daemon=True)
                self._thread.start()

    def end(self) -> bool:
        """Stop renewing. Return whether the database answered last time."""
        self._is_over.set()
        return self._thread is not None and not self._is_away

    def renew(self) -> None:
        """Renew this lease, then read the others. Raises psycopg's exceptions."""
        process = self._process
        with self._pool.cursor() as cursor:
            values: dict[str, Any] = {
                "id": self.worker_id,
                "host": process.host,
                "boot": process.boot,
                "pid": process.pid,
                "process_start": process.start,
                "backend_pid": cursor.connection.info.backend_pid,
            }
            cursor.execute(RENEW_SQL, values)
            cursor.execute(READ_SQL, {"id": self.worker_id, "suspects": self._watch.suspects()})
            rows = cursor.fetchall()
        readings = [Reading(row[0], row[1], Process(*row[2:6]), row[6]) for row in rows]
        dead = self._watch.take(readings, self._clock())
        for worker_id in dead - self._dead:
            logger.warning("a worker is dead", extra={"worker": str(worker_id)})
        self._dead = dead

    def _run(self) -> None:
        while not self._is_over.is_set():
            try:
                self.renew()
                self._is_away = False
            except Exception as failure:
                # Workers that were found dead count as dead until the next reading, which starts to count anew.
                if not self._is_away and is_database_away(failure):
                    logger.error("lease not renewed: database unavailable", extra={"error": "database_unavailable"})
                elif not is_database_away(failure):
                    logger.exception("lease not renewed")
                self._is_away = True
            with suppress(MemoryError):
                self._is_over.wait(settings.ABANDONED_AFTER_SECONDS / RENEWALS_PER_AGE)


lease = Lease(SeparatePool("worker-lease", size=1, timeout_s=POOL_WAIT_S))
