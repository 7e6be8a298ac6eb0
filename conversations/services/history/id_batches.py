"""Going through conversations in batches, in the order of an index, however many there are.

A window is the next `batch_size` ids, found by nothing but what an index answers. Whatever else decides is asked of those
ids alone. So no statement grows with the table, no matter how few of its rows are wanted, and rows that are deleted behind
the walk are never looked at again.
"""

import time
from collections.abc import Callable
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import Q

from chatapi.database import release_connections
from conversations.querysets import ConversationQuerySet
from conversations.services.history.id_arrays import IdArray

DEFAULT_BATCH_SIZE = 1000
PAUSE_SLICE_S = 0.1

WINDOW_SQL = """
SELECT array_agg(id)::text, count(*), (array_agg(time))[count(*)], (array_agg(id))[count(*)] FROM ({rows}) AS rows (time, id)
"""


class Walk:
    """The ids of conversations, window by window: those without a time first, then from the least to the most recent.

    A conversation that gets a new turn meanwhile moves ahead of the walk: it may come twice, but is never missed.
    `batch_size` may be changed on the way.
    """

    def __init__(
        self,
        conversations: ConversationQuerySet,
        *,
        batch_size: int = DEFAULT_BATCH_SIZE,
        time_field: str = "updated_at",
        since: datetime | None = None,
        before: datetime | None = None,
    ) -> None:
        self.batch_size = batch_size
        self._time_field = time_field
        self._last: tuple[datetime | None, UUID] | None = None
        self._without_time = conversations.filter(**{f"{time_field}__isnull": True})
        self._timed = conversations.filter(**{f"{time_field}__isnull": False})
        if since is not None:
            self._timed = self._timed.filter(**{f"{time_field}__gte": since})
        if before is not None:
            self._timed = self._timed.filter(**{f"{time_field}__lt": before})
        # A temporary chat without an end is none; a conversation without activity is one of the predecessor's.
        self._is_among_timed = time_field != "updated_at"

    def next_window(self) -> IdArray:
        """Return the next ids; none at the end. One query, rarely two."""
        if not self._is_among_timed:
            if window := self._take(self._without_time):
                return window
            self._is_among_timed = True
            self._last = None
        return self._take(self._timed)

    def _take(self, rows: ConversationQuerySet) -> IdArray:
        if self._last is not None:
            rows = rows.filter(self._behind(*self._last))
        window = rows.order_by(self._time_field, "id").values_list(self._time_field, "id")[: self.batch_size]
        statement, parameters = window.query.sql_with_params()
        with connection.cursor() as cursor:
            cursor.execute(WINDOW_SQL.format(rows=statement), parameters)
            array, size, *last = cursor.fetchone()
        if not size:
            return IdArray()
        self._last = last[0], last[1]
        return IdArray(array, size)

    def _behind(self, time: datetime | None, conversation_id: UUID) -> Q:
        beyond_id = Q(id__gt=conversation_id)
        if time is None:
            return beyond_id
        conditions: dict[str, Any] = {f"{self._time_field}__gte": time}
        # The first part bounds the index scan; the second decides among equals.
        return Q(**conditions) & (Q(**{f"{self._time_field}__gt": time}) | beyond_id)


def prefer_indexes() -> None:
    """Keep this transaction from scanning a whole table.

    Where PostgreSQL has no statistics yet (after an import, say) it may take a thousand ids for a large part of the table, and
    read all of it in every batch.
    """
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")


def pause(pause_s: float, should_stop: Callable[[], bool]) -> None:
    """Wait between two batches, without a connection and no longer than until `should_stop`."""
    if pause_s <= 0:
        return
    release_connections()
    end = time.monotonic() + pause_s
    while not should_stop() and (left := end - time.monotonic()) > 0:
        time.sleep(min(left, PAUSE_SLICE_S))
