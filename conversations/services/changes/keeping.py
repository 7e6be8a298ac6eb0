"""How long changes are kept. Their rows have no model: nothing but SQL writes or reads them."""

from collections.abc import Iterator
from datetime import datetime

from django.db import connection

PAGES_SQL = "SELECT pg_relation_size('conversation_changes') / current_setting('block_size')::int"
# A user's newest change stays: cursors prove with it that nothing was lost (see `reading`).
DELETE_SQL = """
DELETE FROM conversation_changes
WHERE ctid >= %(first)s::tid AND ctid < %(end)s::tid AND changed_at < %(before)s AND EXISTS (
    SELECT FROM conversation_changes AS newer
    WHERE newer.user_id = conversation_changes.user_id AND newer.changed_in > conversation_changes.changed_in
)
"""


def delete_before(moment: datetime, pages: int) -> Iterator[int]:
    """Delete older changes, and yield how many each batch of pages had. No index has the time, so all pages are read."""
    with connection.cursor() as cursor:
        cursor.execute(PAGES_SQL)
        (last,) = cursor.fetchone()
    for first in range(0, last, pages):
        with connection.cursor() as cursor:
            cursor.execute(DELETE_SQL, {"first": f"({first},0)", "end": f"({first + pages},0)", "before": moment})
            deleted = cursor.rowcount
        yield deleted
