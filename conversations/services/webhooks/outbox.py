"""The events that wait for their delivery, and those that were given up.

Principle: the transaction that makes an event notes it, so an event is delivered exactly if what it tells is committed. A
process claims events by putting off when they are due, in a short transaction: while it calls the receiver it holds no lock,
and if it dies, the events are due again after LEASE_S. So each event is delivered at least once, under the same id.

The outbox is bounded: events are dropped after WEBHOOK_KEEP_DAYS, and the oldest ones beyond MOST_KEPT.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from django.conf import settings
from django.db import connection

from chatapi.database.connections import Runner, run_on_own_connection
from chatapi.database.round_trips import Statement

# Longer than a call may take, with all that a busy process does beside it.
LEASE_S = 60
MOST_KEPT = 1_000_000
MOST_DROPPED_AT_ONCE = 10_000
MOST_COUNTED = 10_000

CLAIM_SQL = """
WITH due AS (
    SELECT id FROM webhook_events WHERE due_at <= now() ORDER BY due_at LIMIT %(most)s FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE webhook_events AS event SET attempts = event.attempts + 1, due_at = now() + %(lease_s)s * interval '1 second'
FROM due WHERE event.id = due.id
RETURNING event.id, event.kind, event.data::text, event.created_at, event.attempts
"""
DELETE_SQL = "DELETE FROM webhook_events WHERE id = ANY(%(ids)s::uuid[])"
# Not if another process has claimed the event in the meantime.
PUT_OFF_SQL = """
UPDATE webhook_events AS event SET due_at = now() + failed.wait_s * interval '1 second', last_failure = failed.reason
FROM unnest(%(ids)s::uuid[], %(attempts)s::int[], %(waits)s::float8[], %(reasons)s::text[])
    AS failed (id, attempts, wait_s, reason)
WHERE event.id = failed.id AND event.attempts = failed.attempts
"""
TEXTS_SQL = "SELECT id, content FROM messages WHERE id = ANY(%(ids)s::uuid[])"
RENEW_SQL = """
INSERT INTO webhook_switch AS switch (id, renewed_at) VALUES (1, now())
ON CONFLICT (id) DO UPDATE SET renewed_at = now() WHERE switch.renewed_at < now() - interval '1 hour'
"""
# What the triggers read (migration 0053).
MARK_SQL = """
UPDATE change_era_marks AS mark SET webhooks_until = switch.renewed_at + interval '1 day'
FROM webhook_switch AS switch WHERE mark.webhooks_until IS DISTINCT FROM switch.renewed_at + interval '1 day'
"""
DROP_OLD_SQL = """
DELETE FROM webhook_events WHERE id IN (
    SELECT id FROM webhook_events WHERE created_at < now() - %(days)s * interval '1 day' ORDER BY created_at LIMIT %(most)s
) OR id IN (
    SELECT id FROM webhook_events ORDER BY created_at DESC OFFSET %(most_kept)s LIMIT %(most)s
) RETURNING id
"""
COUNT_SQL = """
SELECT count(*) FILTER (WHERE due_at IS NOT NULL), count(*) FILTER (WHERE due_at IS NULL),
       coalesce(extract(epoch FROM now() - min(created_at) FILTER (WHERE due_at IS NOT NULL)), 0)::float8
FROM (SELECT due_at, created_at FROM webhook_events ORDER BY created_at LIMIT %(most)s) AS known
"""
# The dead are tried as often as new ones.
REVIVE_SQL = "UPDATE webhook_events SET due_at = now(), attempts = 0 WHERE due_at IS NULL"
REVIVE_THESE_SQL = f"{REVIVE_SQL} AND id = ANY(%(ids)s::uuid[])"
NOTE_ERASED_SQL = """
INSERT INTO webhook_events (kind, data)
SELECT 'user.erased', jsonb_build_object('user_id', %(user_id)s::uuid)
WHERE EXISTS (SELECT FROM webhook_switch WHERE renewed_at > now() - interval '1 day')
"""


@dataclass(frozen=True, slots=True)
class Event:
    """An event that this process has claimed. `attempts` counts the present one."""

    id: UUID
    kind: str
    data: Mapping[str, Any]
    created_at: datetime
    attempts: int


@dataclass(frozen=True, slots=True)
class Failure:
    """A delivery that failed, and when the next one follows. None: never."""

    event: Event
    reason: str
    wait_s: float | None


@dataclass(frozen=True, slots=True)
class State:
    """What is in the outbox; of more than MOST_COUNTED events, the oldest are counted."""

    waiting: int
    dead: int
    oldest_s: float


class Outbox:
    """The table `webhook_events`. `run` runs statements in one transaction."""

    def __init__(self, run: Runner = run_on_own_connection) -> None:
        self._run = run

    def claim(self, most: int) -> list[Event]:
        """Take events that are due, for LEASE_S."""
        [rows] = self._run((CLAIM_SQL, {"most": most, "lease_s": LEASE_S}))
        return [Event(row[0], row[1], orjson.loads(row[2]), row[3], row[4]) for row in rows]

    def settle(self, delivered: Collection[UUID], failures: Sequence[Failure]) -> None:
        """Forget what was delivered, and put off or give up what was not."""
        statements: list[Statement] = []
        if delivered:
            statements.append((DELETE_SQL, {"ids": list(delivered)}))
        if failures:
            values = {
                "ids": [failure.event.id for failure in failures],
                "attempts": [failure.event.attempts for failure in failures],
                "waits": [failure.wait_s for failure in failures],
                "reasons": [failure.reason for failure in failures],
            }
            statements.append((PUT_OFF_SQL, values))
        self._run(*statements)

    def read_texts(self, message_ids: Sequence[UUID]) -> dict[UUID, str]:
        """Return the texts of those of the messages that still exist."""
        [rows] = self._run((TEXTS_SQL, {"ids": list(message_ids)}))
        return dict(rows)

    def keep(self) -> int:
        """Have events noted for another day, and drop what is too old or too much. Return how many were dropped."""
        limits = {"days": settings.WEBHOOK_KEEP_DAYS, "most_kept": MOST_KEPT, "most": MOST_DROPPED_AT_ONCE}
        return len(self._run((RENEW_SQL, {}), (MARK_SQL, {}), (DROP_OLD_SQL, limits))[-1])

    def state(self) -> State:
        [[row]] = self._run((COUNT_SQL, {"most": MOST_COUNTED}))
        return State(*row)


def note_user_erased(user_id: UUID) -> None:
    """Note, in the caller's transaction, that a user is erased, if events are noted at all."""
    with connection.cursor() as cursor:
        cursor.execute(NOTE_ERASED_SQL, {"user_id": user_id})


def try_again(event_ids: Sequence[UUID] | None = None) -> int:
    """Have events that were given up delivered again: these, or all. Return how many."""
    with connection.cursor() as cursor:
        cursor.execute(REVIVE_SQL if event_ids is None else REVIVE_THESE_SQL, {"ids": list(event_ids or ())})
        return int(cursor.rowcount)


def discard_all() -> int:
    """Stop noting events and delete those that are noted. Return how many. For installations that have webhooks no more."""
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM webhook_switch")
        cursor.execute("UPDATE change_era_marks SET webhooks_until = NULL")
        cursor.execute("DELETE FROM webhook_events")
        return int(cursor.rowcount)
