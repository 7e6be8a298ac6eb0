"""Refused requests of each user and day (UTC), for staff who are asked why something did not work.

Each process counts in memory and writes twice a minute, all users in one statement: a client that is refused a thousand times
a second costs no more. The counts of the last half minute of a process that ends are lost.
"""

import logging
import threading
import time
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

from chatapi.database.connections import own_cursor
from chatapi.database.failures import is_database_away
from conversations.models import RefusedRequests
from conversations.services.usage.refusal_counts import give_refused_back, take_refused

logger = logging.getLogger(__name__)

WRITE_PAUSE_S = 30.0
# A process deletes older days once a day, in parts.
DAYS_KEPT = 92
MOST_DELETED = 5_000

# In the order of the key, so that processes that write at once do not wait for each other in a circle.
WRITE_SQL = """
INSERT INTO refused_requests AS known (user_id, day, limited, other)
SELECT user_id, %(day)s::date, limited, other
FROM unnest(%(users)s::uuid[], %(limited)s::bigint[], %(other)s::bigint[]) AS counted (user_id, limited, other)
ORDER BY user_id
ON CONFLICT (user_id, day) DO UPDATE SET limited = known.limited + excluded.limited, other = known.other + excluded.other
"""
FORGET_SQL = f"""
DELETE FROM refused_requests WHERE (user_id, day) IN (
    SELECT user_id, day FROM refused_requests WHERE day < %(before)s::date ORDER BY day LIMIT {MOST_DELETED}
)
"""  # noqa: S608  # a constant


def watch_refused_requests() -> None:
    """Write the counts now and then, in a thread of its own."""
    threading.Thread(target=_watch, name="refused-requests", daemon=True).start()


def _watch() -> None:
    forgot_on: date | None = None
    while True:
        time.sleep(WRITE_PAUSE_S)
        try:
            today = datetime.now(UTC).date()
            if write_refused(today) and forgot_on != today:
                forget_refused(today - timedelta(days=DAYS_KEPT))
                forgot_on = today
        except Exception as failure:
            # Other threads log that the database is away.
            if not is_database_away(failure):
                logger.exception("writing the counts of refused requests failed")


def write_refused(today: date) -> int:
    """Write what this process has counted. Return how many users had any. What can't be written is counted later."""
    taken = take_refused()
    if not taken:
        return 0
    users, limited, other = zip(*taken, strict=True)
    try:
        with own_cursor() as cursor:
            cursor.execute(WRITE_SQL, {"day": today, "users": list(users), "limited": list(limited), "other": list(other)})
    except BaseException:
        give_refused_back(taken)
        raise
    return len(taken)


def forget_refused(before: date) -> int:
    """Delete a limited number of rows of days before this one. Return how many."""
    with own_cursor() as cursor:
        cursor.execute(FORGET_SQL, {"before": before})
        return int(cursor.rowcount)


def read_refused(*, user_id: UUID, first: date, last: date) -> list[tuple[date, int, int]]:
    """Return `(day, over a limit, refused otherwise)` for every day from `first` to `last`, oldest first. One query."""
    rows = RefusedRequests.objects.filter(user_id=user_id, day__gte=first, day__lte=last)
    found = {day: (limited, other) for day, limited, other in rows.values_list("day", "limited", "other")}
    days = [first + timedelta(days=number) for number in range((last - first).days + 1)]
    return [(day, *found.get(day, (0, 0))) for day in days]
