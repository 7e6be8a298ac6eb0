"""Read conversations in batches, in the order of an index.

A window is the next `batch_size` ids, selected only by conditions that an index answers. All other conditions are checked for
those ids alone. So the cost of a statement does not depend on the size of the table, and deleted rows are not read again.
"""

import time
from collections.abc import Callable
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import Q

from chatapi.database.connections import release_connections
from conversations.querysets import ConversationQuerySet
from conversations.services.history.files.id_arrays import IdArray

DEFAULT_BATCH_SIZE = 1000
PAUSE_SLICE_S = 0.1

WINDOW_SQL = """
SELECT array_agg(id)::text, count(*), (array_agg(time))[count(*)], (array_agg(id))[count(*)] FROM ({rows}) AS rows (time, id)
"""


class Walk:
    """The ids of conversations, window by window: first those without a time, then from the least to the most recent.

    A conversation that gets a new turn during the walk may come twice, but is never missed. `batch_size` may change between
    windows.
    """

    def __init__(
        self,
        conversations: ConversationQuerySet,
        *,
        batch_size: int = DEFAULT_BATCH_SIZE,
        time_field: str = "updated_at",
        since: datetime | None = None,
        before: datetime | None = None,
        after: tuple[datetime | None, UUID] | None = None,
    ) -> None:
        """`after` is the time and the id of a conversation: begin behind it."""
        self.batch_size = batch_size
        self._time_field = time_field
        self._last = after
        self._without_time = conversations.filter(**{f"{time_field}__isnull": True})
        self._timed = conversations.filter(**{f"{time_field}__isnull": False})
        if since is not None:
            self._timed = self._timed.filter(**{f"{time_field}__gte": since})
        if before is not None:
            self._timed = self._timed.filter(**{f"{time_field}__lt": before})
        # Conversations without `expires_at` are not temporary. Those without `updated_at` are the predecessor's and are
        # included.
        self._is_among_timed = time_field != "updated_at" or (after is not None and after[0] is not None)

    def next_window(self) -> IdArray:
        """Return the next ids, or none at the end. One query, rarely two."""
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

    Without statistics (after an import, for example) PostgreSQL may assume that a thousand ids are a large part of the table,
    and read all of it in every batch.
    """
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")


def pause(pause_s: float, should_stop: Callable[[], bool]) -> None:
    """Wait between two batches, without a connection. Stop waiting when `should_stop` returns True."""
    if pause_s <= 0:
        return
    release_connections()
    end = time.monotonic() + pause_s
    while not should_stop() and (left := end - time.monotonic()) > 0:
        time.sleep(min(left, PAUSE_SLICE_S))
