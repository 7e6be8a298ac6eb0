"""One thread per worker that begins the replies of queued messages, and starts what was left behind.

The transaction that ends a reply starts the next message and wakes this thread, which asks the inference service. Now and then
it also looks for what no end has started: messages behind a reply whose worker died, behind an end that could not get a lock or
that a worker of the version before has saved, and those of users with too many running replies. It takes over the replies that
dead workers have started and not begun.
"""

import logging
import threading
from uuid import UUID

import psycopg

from chatapi.database.connections import release_connections
from chatapi.database.failures import is_database_away
from conversations.models import QueuedMessage
from conversations.placeholders import WITHOUT_TEXT_SQL
from conversations.services.replies.leases import lease
from conversations.services.replies.next_in_queue import note_started, queue_alarm, start_next
from conversations.services.replies.store import keeper_connections, live_replies
from conversations.services.sending.queued_turns import begin_queued_reply, give_up_queued_reply

logger = logging.getLogger(__name__)

# How long to wait for the alarm: while messages wait, and otherwise.
BUSY_PAUSE_S = 1.0
IDLE_PAUSE_S = 5.0
MOST_ATTEMPTS = 3
MOST_EXAMINED = 1_000

# What has started, and the first of those that wait where nothing runs.
DUE_SQL = f"""
SELECT queued.reply_id, queued.conversation_id, queued.is_started, reply.status, reply.worker,
       coalesce(reply.status = 'interrupted' AND reply.{WITHOUT_TEXT_SQL} AND reply.inference_time_ms IS NULL AND NOT EXISTS (
           SELECT FROM messages WHERE messages.conversation_id = queued.conversation_id AND messages.status = 'streaming'
       ), false) AS is_lost
FROM queued_messages AS queued LEFT JOIN messages AS reply ON reply.id = queued.reply_id
WHERE NOT queued.is_held AND (queued.is_started OR NOT EXISTS (
    SELECT FROM queued_messages AS earlier
    WHERE earlier.conversation_id = queued.conversation_id AND NOT earlier.is_started AND earlier.place < queued.place
) AND NOT EXISTS (
    SELECT FROM messages WHERE messages.conversation_id = queued.conversation_id AND messages.status = 'streaming'
))
ORDER BY queued.created_at LIMIT {MOST_EXAMINED}
"""  # noqa: S608  # a constant
IS_EMPTY_SQL = "SELECT NOT EXISTS (SELECT FROM queued_messages WHERE NOT is_held)"
# A statement of its own, so that the next one sees what the last holder of the lock has committed.
LOCK_SQL = "SELECT FROM conversations WHERE id = %(conversation_id)s FOR NO KEY UPDATE SKIP LOCKED"
# A node of the version before may have marked it.
TAKE_OVER_SQL = f"""
UPDATE messages SET worker = %(worker)s::uuid, status = 'streaming', heartbeat_at = 'infinity'
WHERE id = %(reply_id)s AND {WITHOUT_TEXT_SQL} AND inference_time_ms IS NULL
  AND (status = 'interrupted' OR status = 'streaming' AND worker = ANY(%(dead_workers)s::uuid[]))
RETURNING id
"""  # noqa: S608  # a constant


class QueueKeeper:
    """The thread, and the replies that it is beginning."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._beginning: set[UUID] = set()
        self._attempts: dict[UUID, int] = {}
        self._is_away = False
        # Whether it looks for what others have left, too: in the workers of a server.
        self._stays = False

    def keep(self, *, stays: bool = False) -> None:
        """Start the thread where it isn't running yet. Unless it stays, it ends when nothing waits any more."""
        self._stays = self._stays or stays
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="queue-keeper", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        pause_s = BUSY_PAUSE_S
        while True:
            queue_alarm.wait(pause_s)
            queue_alarm.clear()
            is_busy = True
            try:
                if not live_replies.is_shutting_down:
                    is_busy = self._look()
                self._is_away = False
            except Exception as failure:
                # Whatever goes wrong in one round, others follow.
                if not is_database_away(failure):
                    logger.exception("looking for queued messages failed")
                elif not self._is_away:
                    logger.error("queue paused: database unavailable", extra={"error": "database_unavailable"})
                self._is_away = is_database_away(failure)
            with self._lock:
                if not is_busy and not self._stays and not queue_alarm.is_set():
                    self._thread = None
                    return
            pause_s = BUSY_PAUSE_S if is_busy else IDLE_PAUSE_S

    def _look(self) -> bool:
        """Do what is due. Return whether anything waits that may go on."""
        with keeper_connections.cursor() as cursor:
            cursor.execute(DUE_SQL)
            due = cursor.fetchall()
            cursor.execute(IS_EMPTY_SQL)
            [(is_empty,)] = cursor.fetchall()
        for reply_id, conversation_id, is_started, status, worker, is_lost in due:
            if not is_started:
                self._start(reply_id, conversation_id)
            elif status == "streaming" and worker == lease.worker_id:
                self._begin(reply_id)
            elif is_lost or (status == "streaming" and worker in lease.dead_workers):
                self._take_over(reply_id)
            elif status != "streaming":
                self._forget(reply_id)
        return not is_empty

    def _start(self, reply_id: UUID, conversation_id: UUID) -> None:
        """Give the first message that waits in a conversation its turn, if there is room here."""
        if not live_replies.has_room():
            return
        live_replies.expect(reply_id)
        lock = (LOCK_SQL, {"conversation_id": conversation_id})
        try:
            _, started = keeper_connections.run(lock, start_next(conversation_id))
        except psycopg.IntegrityError:
            # Another worker was first, or a node of the version before has begun a reply.
            started = []
        if reply_id not in note_started(started):
            live_replies.expect_no_longer(reply_id)

    def _take_over(self, reply_id: UUID) -> None:
        if not live_replies.has_room():
            return
        live_replies.expect(reply_id)
        values = {"reply_id": reply_id, "worker": lease.worker_id, "dead_workers": lease.dead_workers}
        try:
            [taken] = keeper_connections.run((TAKE_OVER_SQL, values))
        except psycopg.IntegrityError:
            # Another reply runs by now.
            taken = []
        if not taken:
            # Another worker took it, or it ended.
            live_replies.expect_no_longer(reply_id)
            return
        logger.warning("reply of a dead worker taken over", extra={"message_id": str(reply_id)})
        self._begin(reply_id)

    def _begin(self, reply_id: UUID) -> None:
        """Begin a reply that is this worker's, in a thread of its own: reading its history may take a while."""
        if live_replies.get(reply_id) is not None:
            self._forget(reply_id)
        elif reply_id not in self._beginning:
            self._beginning.add(reply_id)
            threading.Thread(target=self._run_begin, args=(reply_id,), name=f"queued-{reply_id}", daemon=True).start()

    def _run_begin(self, reply_id: UUID) -> None:
        try:
            begin_queued_reply(reply_id)
            self._attempts.pop(reply_id, None)
        except Exception as failure:
            if is_database_away(failure):
                return
            logger.exception("a queued message can't be begun", extra={"message_id": str(reply_id)})
            self._attempts[reply_id] = self._attempts.get(reply_id, 0) + 1
            if self._attempts[reply_id] >= MOST_ATTEMPTS:
                del self._attempts[reply_id]
                give_up_queued_reply(reply_id)
        finally:
            release_connections()
            self._beginning.discard(reply_id)

    def _forget(self, reply_id: UUID) -> None:
        """Remove the row of a reply that has begun or ended."""
        try:
            QueuedMessage.objects.filter(reply_id=reply_id, is_started=True).delete()
        finally:
            release_connections()


queue_keeper = QueueKeeper()
