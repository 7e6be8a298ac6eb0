"""Delete old records about users: usage totals, who read their conversations, the directory of users, and what changed.

Each statement handles a limited number of rows in the order of an index and is a transaction of its own. So a run can be
interrupted and repeated. Conversations and messages are for `prune`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection

from conversations.services.changes.keeping import delete_before
from conversations.services.history.id_batches import pause

BATCH_ROWS = 5000
# Of the table of changes, about.
ROWS_PER_PAGE = 100

# The primary key begins with the user, and no index begins with the time. So this walks through the whole table once.
USAGE_SQL = """
WITH walked AS MATERIALIZED (
    SELECT user_id, bucket FROM usage_totals
    WHERE %(user_id)s::uuid IS NULL OR (user_id, bucket) > (%(user_id)s::uuid, %(bucket)s::timestamptz)
    ORDER BY user_id, bucket LIMIT %(most)s
), deleted AS (
    DELETE FROM usage_totals USING walked
    WHERE usage_totals.user_id = walked.user_id AND usage_totals.bucket = walked.bucket AND walked.bucket < %(before)s
    RETURNING 1
)
SELECT (SELECT count(*) FROM deleted), user_id, bucket FROM walked ORDER BY user_id DESC, bucket DESC LIMIT 1
"""
ACCESS_SQL = """
DELETE FROM staff_access WHERE id IN (SELECT id FROM staff_access WHERE at < %(before)s ORDER BY at, id LIMIT %(most)s)
"""
# The user may come back meanwhile: the time is compared again in the row that is deleted. A user with conversations stays,
# because staff find them by the address.
USERS_SQL = """
WITH walked AS MATERIALIZED (
    SELECT last_seen_at, id FROM chat_users
    WHERE last_seen_at < %(before)s
      AND (%(id)s::uuid IS NULL OR (last_seen_at, id) > (%(last_seen_at)s::timestamptz, %(id)s::uuid))
    ORDER BY last_seen_at, id LIMIT %(most)s
), deleted AS (
    DELETE FROM chat_users USING walked
    WHERE chat_users.id = walked.id AND chat_users.last_seen_at < %(before)s
      AND NOT EXISTS (SELECT 1 FROM conversations WHERE conversations.user_id = chat_users.id)
    RETURNING 1
)
SELECT (SELECT count(*) FROM deleted), last_seen_at, id FROM walked ORDER BY last_seen_at DESC, id DESC LIMIT 1
"""


@dataclass(slots=True)
class RecordsResult:
    """How many rows a run has deleted so far."""

    usage_totals: int = 0
    staff_access: int = 0
    chat_users: int = 0
    changes: int = 0
    is_complete: bool = False

    @property
    def rows(self) -> int:
        return self.usage_totals + self.staff_access + self.chat_users + self.changes


def prune_records(
    *,
    usage_before: datetime | None = None,
    access_before: datetime | None = None,
    users_unseen_since: datetime | None = None,
    changes_before: datetime | None = None,
    batch_rows: int = BATCH_ROWS,
    pause_s: float = 0.0,
    should_stop: Callable[[], bool] = lambda: False,
    on_batch: Callable[[RecordsResult], None] = lambda result: None,
) -> RecordsResult:
    """Delete what is older than the given times. Without a time, a table keeps all its rows."""
    result = RecordsResult()
    batches = {
        "usage_totals": _usage_batches(usage_before, batch_rows),
        "staff_access": _access_batches(access_before, batch_rows),
        "chat_users": _user_batches(users_unseen_since, batch_rows),
        "changes": _change_batches(changes_before, batch_rows),
    }
    for table, deletions in batches.items():
        while True:
            if should_stop():
                return result
            deleted = next(deletions, None)
            if deleted is None:
                break
            setattr(result, table, getattr(result, table) + deleted)
            on_batch(result)
            pause(pause_s, should_stop)
    result.is_complete = True
    return result


def _usage_batches(before: datetime | None, most: int) -> Iterator[int]:
    """Yield how many totals each batch deleted."""
    last: tuple[Any, Any] = (None, None)
    while before is not None and (row := _fetch(USAGE_SQL, before=before, most=most, user_id=last[0], bucket=last[1])):
        yield row[0]
        last = row[1], row[2]


def _access_batches(before: datetime | None, most: int) -> Iterator[int]:
    while before is not None:
        with connection.cursor() as cursor:
            cursor.execute(ACCESS_SQL, {"before": before, "most": most})
            deleted = cursor.rowcount
        if not deleted:
            return
        yield deleted


def _user_batches(before: datetime | None, most: int) -> Iterator[int]:
    last: tuple[Any, Any] = (None, None)
    while before is not None and (row := _fetch(USERS_SQL, before=before, most=most, last_seen_at=last[0], id=last[1])):
        yield row[0]
        last = row[1], row[2]


def _change_batches(before: datetime | None, most: int) -> Iterator[int]:
    return iter(()) if before is None else delete_before(before, max(1, most // ROWS_PER_PAGE))


def _fetch(statement: str, **parameters: Any) -> tuple[Any, ...] | None:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        row: tuple[Any, ...] | None = cursor.fetchone()
    return row
