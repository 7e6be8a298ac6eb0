"""Delete old records about users: usage totals, who read their conversations, the directory of users, and what changed.

Each statement handles a limited number of rows in the order of an index and is a transaction of its own. So a run can be
interrupted and repeated. Conversations and messages are for `prune`. Rows of users and conversations on hold stay, except those
about changes, which are no history.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection

from conversations.services.changes.keeping import delete_before
from conversations.services.history import holds
from conversations.services.history.id_batches import pause

BATCH_ROWS = 5000
# About how many rows a page of the table of changes has.
ROWS_PER_PAGE = 100

IS_USER_HELD_SQL = holds.IS_USER_HELD_SQL.format(column="walked.user_id")
# The primary key begins with the user, and no index begins with the time. So this walks through the whole table once.
USAGE_SQL = f"""
WITH walked AS MATERIALIZED (
    SELECT user_id, bucket FROM usage_totals
    WHERE %(user_id)s::uuid IS NULL OR (user_id, bucket) > (%(user_id)s::uuid, %(bucket)s::timestamptz)
    ORDER BY user_id, bucket LIMIT %(most)s
), deleted AS (
    DELETE FROM usage_totals USING walked
    WHERE usage_totals.user_id = walked.user_id AND usage_totals.bucket = walked.bucket AND walked.bucket < %(before)s
      AND NOT {IS_USER_HELD_SQL}
    RETURNING 1
)
SELECT (SELECT count(*) FROM deleted),
    (SELECT count(*) FROM walked WHERE bucket < %(before)s AND {IS_USER_HELD_SQL}), user_id, bucket
FROM walked ORDER BY user_id DESC, bucket DESC LIMIT 1
"""  # noqa: S608  # only constants go into it
IS_RECORD_HELD_SQL = f"({IS_USER_HELD_SQL} OR {holds.IS_CONVERSATION_HELD_SQL.format(column='walked.conversation_id')})"
ACCESS_SQL = f"""
WITH walked AS MATERIALIZED (
    SELECT at, id, user_id, conversation_id FROM staff_access
    WHERE at < %(before)s AND (%(id)s::bigint IS NULL OR (at, id) > (%(at)s::timestamptz, %(id)s::bigint))
    ORDER BY at, id LIMIT %(most)s
), deleted AS (
    DELETE FROM staff_access USING walked WHERE staff_access.id = walked.id AND NOT {IS_RECORD_HELD_SQL} RETURNING 1
)
SELECT (SELECT count(*) FROM deleted), (SELECT count(*) FROM walked WHERE {IS_RECORD_HELD_SQL}), at, id
FROM walked ORDER BY at DESC, id DESC LIMIT 1
"""  # noqa: S608
IS_PERSON_HELD_SQL = holds.IS_USER_HELD_SQL.format(column="walked.id")
# The user may come back meanwhile: the time is compared again in the row that is deleted. A user with conversations stays,
# because staff find them by the address.
USERS_SQL = f"""
WITH walked AS MATERIALIZED (
    SELECT last_seen_at, id FROM chat_users
    WHERE last_seen_at < %(before)s
      AND (%(id)s::uuid IS NULL OR (last_seen_at, id) > (%(last_seen_at)s::timestamptz, %(id)s::uuid))
    ORDER BY last_seen_at, id LIMIT %(most)s
), deleted AS (
    DELETE FROM chat_users USING walked
    WHERE chat_users.id = walked.id AND chat_users.last_seen_at < %(before)s
      AND NOT EXISTS (SELECT 1 FROM conversations WHERE conversations.user_id = chat_users.id) AND NOT {IS_PERSON_HELD_SQL}
    RETURNING 1
)
SELECT (SELECT count(*) FROM deleted), (SELECT count(*) FROM walked WHERE {IS_PERSON_HELD_SQL}), last_seen_at, id
FROM walked ORDER BY last_seen_at DESC, id DESC LIMIT 1
"""  # noqa: S608

# What each of the statements above would delete, and what it would spare.
COUNT_SQL = {
    "usage_totals": f"""
        SELECT count(*) FILTER (WHERE NOT {IS_USER_HELD_SQL}), count(*) FILTER (WHERE {IS_USER_HELD_SQL})
        FROM usage_totals AS walked WHERE bucket < %(before)s""",  # noqa: S608
    "staff_access": f"""
        SELECT count(*) FILTER (WHERE NOT {IS_RECORD_HELD_SQL}), count(*) FILTER (WHERE {IS_RECORD_HELD_SQL})
        FROM staff_access AS walked WHERE at < %(before)s""",  # noqa: S608
    "chat_users": f"""
        SELECT count(*) FILTER (WHERE NOT {IS_PERSON_HELD_SQL}), count(*) FILTER (WHERE {IS_PERSON_HELD_SQL})
        FROM chat_users AS walked WHERE last_seen_at < %(before)s
          AND NOT EXISTS (SELECT 1 FROM conversations WHERE conversations.user_id = walked.id)""",  # noqa: S608
}


@dataclass(slots=True)
class RecordsResult:
    """How many rows a run has deleted so far."""

    usage_totals: int = 0
    staff_access: int = 0
    chat_users: int = 0
    changes: int = 0
    # Rows that are old enough and stay, because their user or conversation is on hold.
    on_hold: int = 0
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
        "usage_totals": _batches(USAGE_SQL, ("user_id", "bucket"), usage_before, batch_rows),
        "staff_access": _batches(ACCESS_SQL, ("at", "id"), access_before, batch_rows),
        "chat_users": _batches(USERS_SQL, ("last_seen_at", "id"), users_unseen_since, batch_rows),
        "changes": _change_batches(changes_before, batch_rows),
    }
    for table, deletions in batches.items():
        while True:
            if should_stop():
                return result
            batch = next(deletions, None)
            if batch is None:
                break
            setattr(result, table, getattr(result, table) + batch[0])
            result.on_hold += batch[1]
            on_batch(result)
            pause(pause_s, should_stop)
    result.is_complete = True
    return result


def count_records(
    *,
    usage_before: datetime | None = None,
    access_before: datetime | None = None,
    users_unseen_since: datetime | None = None,
) -> RecordsResult:
    """Count what `prune_records` would delete, without changes. It reads each table that is named once."""
    result = RecordsResult(is_complete=True)
    given = {"usage_totals": usage_before, "staff_access": access_before, "chat_users": users_unseen_since}
    for table, before in given.items():
        if before is None:
            continue
        with connection.cursor() as cursor:
            cursor.execute(COUNT_SQL[table], {"before": before})
            deleted, on_hold = cursor.fetchone()
        setattr(result, table, deleted)
        result.on_hold += on_hold
    return result


def _batches(statement: str, key: tuple[str, str], before: datetime | None, most: int) -> Iterator[tuple[int, int]]:
    """For each batch, yield how many rows were deleted and how many are on hold. `key` is the order of the walk."""
    last: tuple[Any, Any] = (None, None)
    while before is not None:
        with connection.cursor() as cursor:
            cursor.execute(statement, {"before": before, "most": most, key[0]: last[0], key[1]: last[1]})
            row = cursor.fetchone()
        if row is None:
            return
        yield row[0], row[1]
        last = row[2], row[3]


def _change_batches(before: datetime | None, most: int) -> Iterator[tuple[int, int]]:
    if before is not None:
        for deleted in delete_before(before, max(1, most // ROWS_PER_PAGE)):
            yield deleted, 0
