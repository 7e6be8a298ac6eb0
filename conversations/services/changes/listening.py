"""Streams of changes: one thread per process and one statement a second, for any number of listeners.

Principle: more listeners cost the database almost nothing. A listener first reads what it lacks by itself. Once that reaches a
snapshot that contains the one of the last round, rounds give it what changes. A listener that reads too slowly, or whose user
changes too much for a round, drops what it was given and reads by itself again, from its own cursor. So nothing piles up.
"""

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from prometheus_client import Gauge

from chatapi.database.connections import Runner, release_connections
from chatapi.database.failures import is_database_away
from chatapi.database.pools import SeparatePool
from conversations.exceptions import CursorExpired
from conversations.services.changes.cursors import Cursor
from conversations.services.changes.reading import Moment, Page, UserChanges, read_page, read_round, split
from conversations.services.replies.store import live_replies
from inference_proxy.replies.frames import Frame

logger = logging.getLogger(__name__)

ROUND_SECONDS = 1.0
# As streams of replies do.
DATABASE_PATIENCE_S = 60.0
PAGE = 200
# How many rounds wait for a slow listener.
MOST_WAITING = 20
# A stream ends after this time, a little more or less, so that the token is checked again when the client comes back.
LIFETIME_S = 600.0

_change_streams = Gauge("chat_change_streams", "Open streams of /api/changes.", multiprocess_mode="livesum")

# Makes the payload of an event: the rows, the ids of what is gone, the cursor, and whether more is waiting.
Encode = Callable[[Sequence[dict[str, Any]], Sequence[UUID], str, bool], bytes]


@dataclass(frozen=True, slots=True)
class Round:
    """What changed for one user in one round."""

    moment: Moment
    found: UserChanges


class Listener:
    """A client's stream of changes: a `Follower` of `inference_proxy.replies.streams`."""

    def __init__(self, listeners: "Listeners", user_id: UUID, page: Page) -> None:
        self._listeners = listeners
        self.user_id = user_id
        self._page: Page | None = page
        self._cursor = page.next
        # After a restart, all clients come back together. Different ends keep them from doing so again and again.
        self._ends_at = time.monotonic() + LIFETIME_S * random.uniform(0.9, 1.1)  # noqa: S311
        self._away_since: float | None = None
        self._waiting: deque[Round] = deque()
        # Whether rounds give it what changes. Only changed under the lock of `Listeners`.
        self.is_live = False
        self.wakeup = threading.Event()
        self.has_ended = False

    def read(self, timeout_s: float) -> list[Frame]:
        give_up_at = time.monotonic() + timeout_s
        while True:
            # Clear it before reading, so that what comes meanwhile sets it again.
            self.wakeup.clear()
            if frames := self.take() or self._take_rounds():
                return frames
            if not self.is_live and (frames := self._catch_up_patiently()):
                return frames
            if self.has_ended or live_replies.must_streams_end or time.monotonic() >= self._ends_at:
                # The client comes back with its last cursor.
                self.has_ended = True
                return []
            remaining_s = give_up_at - time.monotonic()
            if remaining_s <= 0:
                return []
            self.wakeup.wait(min(remaining_s, max(0.0, self._ends_at - time.monotonic())))

    def take(self) -> list[Frame]:
        """Return the page that was read before the stream began: it tells the client that it listens, and from where."""
        page, self._page = self._page, None
        return [] if page is None else [self._frame(page.rows, page.gone, has_more=page.has_more)]

    def close(self) -> None:
        self._listeners.leave(self)

    def offer(self, found: Round) -> None:
        """Take what a round found, or remember to read it. Called under the lock of `Listeners`."""
        if found.found.is_full or len(self._waiting) >= MOST_WAITING:
            self.is_live = False
        else:
            self._waiting.append(found)
        self.wakeup.set()

    def _take_rounds(self) -> list[Frame]:
        if not self.is_live:
            # Those that still wait are part of what it reads by itself.
            self._waiting.clear()
            return []
        frames = []
        while self._waiting:
            one = self._waiting.popleft()
            frames += self._tell(one.moment, one.found)
        return frames

    def _tell(self, moment: Moment, found: UserChanges) -> list[Frame]:
        since = self._cursor.since
        new = [change for change in found.changes if not all(map(since.contains, change.changes))]
        self._cursor = replace(
            self._cursor,
            since=moment.now if moment.now.covers(since) else since,
            era=moment.era,
            issued_at=moment.time,
            newest=max(self._cursor.newest, found.last),
        )
        rows, gone = split(new)
        return [self._frame(rows, gone)] if rows or gone else []

    def _catch_up_patiently(self) -> list[Frame]:
        """Read a page. While the database is away, return nothing."""
        try:
            page = read_page(self.user_id, self._cursor, PAGE, self._listeners.columns)
        except CursorExpired:
            # The client gets the same answer when it comes back.
            self.has_ended = True
            return []
        except Exception as failure:
            if not is_database_away(failure):
                raise
            self._away_since = self._away_since or time.monotonic()
            self.has_ended = time.monotonic() - self._away_since > DATABASE_PATIENCE_S
            return []
        finally:
            release_connections()
        self._away_since = None
        self._cursor = page.next
        if not page.has_more:
            self._listeners.go_live(self, page.next)
        return [self._frame(page.rows, page.gone, has_more=page.has_more)] if page.rows or page.gone else []

    def _frame(self, rows: Sequence[dict[str, Any]], gone: Sequence[UUID], *, has_more: bool = False) -> Frame:
        cursor = self._cursor.encode()
        return cursor, self._listeners.encode(rows, gone, cursor, has_more)


change_connections = SeparatePool("changes", size=1, timeout_s=5.0)


@dataclass(eq=False)
class Listeners:
    """The listeners of this process, by user, and the thread that reads these columns for them."""

    columns: Sequence[str]
    encode: Encode
    run: Runner = change_connections.run
    _of_user: dict[UUID, set[Listener]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _thread: threading.Thread | None = None
    # The snapshot and the era of the last round, None before the first one.
    _last: Cursor | None = None
    # The users of the round that is being read.
    _reading: frozenset[UUID] | None = None

    @property
    def count(self) -> int:
        return sum(map(len, tuple(self._of_user.values())))

    def join(self, user_id: UUID, page: Page) -> Listener:
        """Return a listener that begins with this page. Rounds read for its user from now on."""
        listener = Listener(self, user_id, page)
        with self._lock:
            self._of_user.setdefault(user_id, set()).add(listener)
            _change_streams.inc()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="changes", daemon=True)
                self._thread.start()
        return listener

    def leave(self, listener: Listener) -> None:
        with self._lock:
            theirs = self._of_user.get(listener.user_id, set())
            if listener not in theirs:
                return
            theirs.remove(listener)
            _change_streams.dec()
            if not theirs:
                self._of_user.pop(listener.user_id, None)

    def go_live(self, listener: Listener, cursor: Cursor) -> None:
        """Give a listener what changes after its cursor, unless a round was ahead of it. Then it reads again when woken."""
        with self._lock:
            if self._last is None and self._reading is None:
                self._last = cursor
            is_read_for = self._reading is None or listener.user_id in self._reading
            is_ahead = self._last is not None and cursor.era == self._last.era and cursor.since.covers(self._last.since)
            listener.is_live = is_read_for and is_ahead

    def _run(self) -> None:
        """Read rounds while there are listeners."""
        away_since: float | None = None
        while True:
            began_at = time.monotonic()
            with self._lock:
                if not self._of_user:
                    self._thread = self._last = None
                    return
                last = self._last
                self._reading = None if last is None else frozenset(self._of_user)
                users = list(self._of_user)
            try:
                if last is not None:
                    self._read(last, users)
                away_since = None
            except Exception as failure:
                if not is_database_away(failure):
                    # The thread must survive any failure of one round.
                    logger.exception("reading changes failed")
                away_since = away_since or began_at
            is_over = live_replies.must_streams_end or (away_since is not None and began_at - away_since > DATABASE_PATIENCE_S)
            with self._lock:
                self._reading = None
                self._wake(is_over=is_over)
            time.sleep(max(0.0, ROUND_SECONDS - (time.monotonic() - began_at)))

    def _read(self, last: Cursor, users: Sequence[UUID]) -> None:
        moment, found = read_round(users, last.since, last.era, PAGE, self.columns, self.run)
        with self._lock:
            if moment.cut is not None or moment.place != last.place or not moment.is_continuous:
                # The history of commits was interrupted: each listener's cursor has to be looked at.
                self._last = None
                for listener in self._all():
                    listener.is_live = False
                return
            self._last = replace(last, since=moment.now, era=moment.era)
            for user_id, theirs in found.items():
                for listener in self._of_user.get(user_id, ()):
                    if listener.is_live:
                        listener.offer(Round(moment, theirs))

    def _wake(self, *, is_over: bool) -> None:
        """Wake the listeners that have something to do now."""
        for listener in self._all():
            if is_over:
                listener.has_ended = True
            if is_over or not listener.is_live:
                listener.wakeup.set()

    def _all(self) -> list[Listener]:
        return [listener for theirs in self._of_user.values() for listener in theirs]
