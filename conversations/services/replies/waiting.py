"""Following a reply whose message still waits in the queue.

Principle: a waiting client costs no database connection. One thread per process asks for all of them, twice a second, which
still wait. When a message has had its turn, in whichever process, its followers go on with the reply, as any follower does.
"""

import logging
import threading
import time
from collections import defaultdict
from uuid import UUID

from chatapi.database.failures import is_database_away
from conversations.models import QueuedMessage
from conversations.services.replies.follow import follow_reply
from conversations.services.replies.poll import POLL_SECONDS
from conversations.services.replies.store import keeper_connections, live_replies
from inference_proxy.replies.frames import Cursor, Frame
from inference_proxy.replies.presence import Presence
from inference_proxy.replies.streams import Follower

logger = logging.getLogger(__name__)

WAITING_SQL = "SELECT reply_id FROM queued_messages WHERE reply_id = ANY(%s::uuid[])"


class QueueWatch:
    """The replies that followers of this process wait for."""

    def __init__(self) -> None:
        self._waiting: dict[UUID, set[threading.Event]] = defaultdict(set)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def join(self, reply_id: UUID, wakeup: threading.Event) -> None:
        """Have a follower woken when its reply has begun, or never will."""
        with self._lock:
            self._waiting[reply_id].add(wakeup)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="queue-watch", daemon=True)
                self._thread.start()

    def leave(self, reply_id: UUID, wakeup: threading.Event) -> None:
        with self._lock:
            self._waiting[reply_id].discard(wakeup)
            if not self._waiting[reply_id]:
                del self._waiting[reply_id]

    def waits(self, reply_id: UUID) -> bool:
        return reply_id in self._waiting

    def wake(self, reply_id: UUID) -> None:
        """Wake the followers of a reply that has begun here, or never will."""
        with self._lock:
            followers = self._waiting.pop(reply_id, set())
        for wakeup in followers:
            wakeup.set()

    def wake_all(self) -> None:
        for followers in list(self._waiting.values()):
            for wakeup in list(followers):
                wakeup.set()

    def _run(self) -> None:
        """Ask while there is anything to wait for."""
        while True:
            with self._lock:
                ids = list(self._waiting)
                if not ids:
                    self._thread = None
                    return
            try:
                with keeper_connections.cursor() as cursor:
                    cursor.execute(WAITING_SQL, [ids])
                    still = {reply_id for (reply_id,) in cursor.fetchall()}
                for reply_id in ids:
                    if reply_id not in still:
                        self.wake(reply_id)
            except Exception as failure:
                # Followers wait on while the database is away.
                if not is_database_away(failure):
                    logger.exception("looking for waiting messages failed")
            if live_replies.must_streams_end:
                self.wake_all()
            time.sleep(POLL_SECONDS)


queue_watch = QueueWatch()


class WaitingFollower:
    """Wait until a reply begins, then follow it."""

    def __init__(self, reply_id: UUID, after: Cursor, is_present: Presence) -> None:
        self._reply_id = reply_id
        self._after = after
        self._is_present = is_present
        self._wakeup = threading.Event()
        self._reply: Follower | None = None
        self._is_cut = False
        queue_watch.join(reply_id, self._wakeup)

    @property
    def has_ended(self) -> bool:
        return self._is_cut or (self._reply is not None and self._reply.has_ended)

    @has_ended.setter
    def has_ended(self, value: bool) -> None:
        self._is_cut = value

    def read(self, timeout_s: float) -> list[Frame]:
        give_up_at = time.monotonic() + timeout_s
        while self._reply is None:
            self._wakeup.clear()
            if not queue_watch.waits(self._reply_id):
                self._reply = follow_reply(self._reply_id, self._after, self._is_present)
            elif live_replies.must_streams_end:
                # It waits on. A client that reconnects follows it in another process.
                self._is_cut = True
                return []
            elif not self._wakeup.wait(max(0.0, give_up_at - time.monotonic())):
                return []
        return self._reply.read(max(0.0, give_up_at - time.monotonic()))

    def take(self) -> list[Frame]:
        return [] if self._reply is None else self._reply.take()

    def close(self) -> None:
        queue_watch.leave(self._reply_id, self._wakeup)
        if self._reply is not None:
            self._reply.close()


def is_waiting(conversation_id: UUID, reply_id: UUID) -> bool:
    """Return whether a reply has not begun because its message waits. One query."""
    return QueuedMessage.objects.filter(conversation_id=conversation_id, reply_id=reply_id).exists()
