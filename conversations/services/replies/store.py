"""Keep replies in PostgreSQL: what `inference_proxy` asks of a store, with a pool of connections for each kind of work.

The statements are elsewhere: `checkpoints` saves replies while they run, `ending` ends them.
"""

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast
from uuid import UUID

from django.conf import settings

from chatapi.database.connections import Cursors, Runner, own_cursor, run_on_own_connection
from chatapi.database.failures import is_database_away, is_lock_timeout
from chatapi.database.pools import SeparatePool
from chatapi.database.recent_writes import pause_replica_reads
from chatapi.database.round_trips import Rows
from conversations.querysets import IS_BEGUN_SQL
from conversations.services.replies.checkpoints import CHECKPOINT_FREE_SQL, CHECKPOINT_SQL
from conversations.services.replies.ending import ABANDONED_SQL, LEFT_BY_WORKER_SQL, UNKNOWN_HERE_SQL, end_reply
from conversations.services.replies.leases import FORGET_OWN_SQL, FORGET_SQL, Lease, lease
from conversations.services.replies.next_in_queue import queue_alarm
from conversations.services.usage.totals import count_uncounted
from inference_proxy.exceptions import StoreUnavailable
from inference_proxy.replies.live import LiveReplies
from inference_proxy.replies.store import Directives, Draft, FinalStatus, FinishedReply

logger = logging.getLogger(__name__)

NAMED_SQL = f"SELECT id, worker, {IS_BEGUN_SQL} FROM messages WHERE status = 'streaming' AND worker IS NOT NULL"  # noqa: S608
STATUS_SQL = "SELECT status FROM messages WHERE id = %(id)s"

# The keeper and the poller each run one statement at a time. Ends of replies are short and come in bursts; they share these.
KEEPER_CONNECTIONS = 2
ENDING_CONNECTIONS = 4
KEEPER_WAIT_S = 5.0
ENDING_WAIT_S = 20.0

# An interval that PostgreSQL can subtract, longer than any reply runs.
LONG_S = 10 * 365 * 24 * 3600


class DatabaseReplyStore:
    """Replies in PostgreSQL; see `inference_proxy.replies.store.ReplyStore`.

    `saving` runs checkpoints, `ending` the statements for the ends of replies; `keeping` gives cursors for abandoned replies.
    """

    def __init__(
        self,
        *,
        keeping: Cursors = own_cursor,
        saving: Runner = run_on_own_connection,
        ending: Runner = run_on_own_connection,
        lease: Lease = lease,
    ) -> None:
        self._keeping = keeping
        self._saving = saving
        self._ending = ending
        self._lease = lease
        # Called with each reply that is complete. It must not wait.
        self.when_complete: Callable[[UUID], None] = lambda _: None
        self._away_at = -math.inf
        # As of the last checkpoint.
        self._are_rows_locked = False

    def checkpoint(self, drafts: Sequence[Draft]) -> Directives:
        ids = [draft.reply_id for draft in drafts]
        values = {
            "ids": ids,
            "texts": [draft.text for draft in drafts],
            "thoughts": [draft.reasoning for draft in drafts],
            "are_followed": [draft.is_followed for draft in drafts],
            "continuations": [draft.continuation for draft in drafts],
            "thoughts_before": [draft.reasoning_before_text for draft in drafts],
        }
        with self._translated_errors():
            found = self._save_drafts(values)
        known = {reply_id for reply_id, _, _ in found}
        return Directives(
            to_stop=frozenset(reply_id for reply_id, stop_requested, _ in found if stop_requested),
            deleted=frozenset(ids) - known,
            skipped=frozenset(reply_id for reply_id, _, is_skipped in found if is_skipped),
        )

    def _save_drafts(self, values: Mapping[str, Any]) -> Rows:
        if not self._are_rows_locked:
            try:
                return self._saving((CHECKPOINT_SQL, values))[0]
            except Exception as failure:
                if not is_lock_timeout(failure):
                    raise
        found = self._saving((CHECKPOINT_FREE_SQL, values))[0]
        # As long as there are some, waiting for them each time would only delay the others.
        self._are_rows_locked = any(is_skipped for _, _, is_skipped in found)
        return found

    def finish(self, reply: FinishedReply) -> FinalStatus:
        with self._translated_errors():
            ended = end_reply(reply, self._ending, starts_next=not live_replies.is_shutting_down)
            if ended is None:
                # The conversation was deleted, or an earlier attempt succeeded although its answer was lost.
                found = self._ending((STATUS_SQL, {"id": reply.reply_id}))[0]
                status = found[0][0] if found else reply.status
                # After a guess, another generation may have gone on with the reply.
                return "interrupted" if status == "streaming" else cast(FinalStatus, status)
        ended.note()
        if ended.status == "complete":
            self.when_complete(reply.reply_id)
        if ended.was_guessed:
            # The replica may still have the guess, which it does not count as running.
            pause_replica_reads()
        return ended.status

    def interrupt(self, reply_ids: Sequence[UUID]) -> frozenset[UUID]:
        with self._translated_errors(), self._keeping() as cursor:
            cursor.execute(UNKNOWN_HERE_SQL, [list(reply_ids)])
            return frozenset(reply_id for (reply_id,) in cursor.fetchall())

    def interrupt_abandoned(self) -> int:
        with self._translated_errors(), self._keeping() as cursor:
            dead = self._lease.dead_workers
            age_s: float = settings.ABANDONED_AFTER_SECONDS
            if time.monotonic() - self._away_at < age_s:
                # Workers of the version before could not renew their heartbeats either. They do so now.
                age_s = math.inf
            cursor.execute(ABANDONED_SQL, {"abandoned_after_s": min(age_s, LONG_S), "dead_workers": dead})
            count = int(cursor.rowcount)
            if dead:
                cursor.execute(FORGET_SQL, [dead])
        self._lease.note_marked(dead)
        if dead:
            # What waited behind their replies.
            queue_alarm.set()
        if count:
            # They may have begun before the time that `replica_reads` looks back to.
            pause_replica_reads()
        return count

    def count_uncounted(self) -> None:
        """Add what could not be counted with its turn or its reply because the user's totals were locked."""
        with self._translated_errors():
            count_uncounted(self._ending)

    def has_abandoned(self) -> bool:
        return self._lease.has_news

    def running_here(self) -> frozenset[UUID]:
        with self._translated_errors(), self._keeping() as cursor:
            cursor.execute(NAMED_SQL)
            found = cursor.fetchall()
        self._lease.note_named({worker_id for _, worker_id, _ in found})
        here = self._lease.worker_id
        return frozenset(reply_id for reply_id, worker_id, is_begun in found if is_begun and worker_id == here)

    def give_up_lease(self) -> None:
        """Mark what this worker leaves `interrupted`, and remove its lease. For its end; skipped while the database is away."""
        if not self._lease.end():
            return
        try:
            self._ending((LEFT_BY_WORKER_SQL, {"id": self._lease.worker_id}), (FORGET_OWN_SQL, {"id": self._lease.worker_id}))
        except Exception:  # noqa: BLE001  # whatever keeps it from that, the worker ends
            # Other workers find that this process is gone.
            logger.warning("lease not given up")

    @contextmanager
    def _translated_errors(self) -> Iterator[None]:
        """Raise `StoreUnavailable` if the database is away. Other errors pass unchanged."""
        try:
            yield
        except Exception as failure:
            if is_database_away(failure):
                self._away_at = time.monotonic()
                raise StoreUnavailable from failure
            raise


# Separate from the connections of requests. If requests exhaust theirs, checkpoints and heartbeats must continue; otherwise
# other workers would mark running replies as interrupted.
keeper_connections = SeparatePool("reply-keeper", size=KEEPER_CONNECTIONS, timeout_s=KEEPER_WAIT_S)
ending_connections = SeparatePool("reply-ends", size=ENDING_CONNECTIONS, timeout_s=ENDING_WAIT_S)

reply_store = DatabaseReplyStore(
    keeping=keeper_connections.cursor, saving=keeper_connections.run, ending=ending_connections.run
)
live_replies = LiveReplies(reply_store)
