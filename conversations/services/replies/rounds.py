"""Runs of replies: a reply that calls tools, the outputs of its calls, the reply to those, and so on.

Some clients show a run as one message, which they know by its first reply.
"""

from uuid import UUID

from django.db import connection

# Far more than any client makes. Rows that others wrote could form a circle.
MOST_ROWS = 1_000
# Up from a reply: an output follows what is before it, a reply answers its question. The run ends above its first reply.
RUN_SQL = """
WITH RECURSIVE run AS (
    SELECT id, role, parent_id, follows_id, 1 AS place FROM messages WHERE id = %(reply_id)s
    UNION ALL
    SELECT above.id, above.role, above.parent_id, above.follows_id, run.place + 1
    FROM run JOIN messages AS above ON above.id = CASE WHEN run.role = 'assistant' THEN run.parent_id ELSE run.follows_id END
    WHERE run.place < %(most_rows)s AND (above.role = 'assistant' OR above.tool_calls IS NOT NULL)
)
SELECT id FROM run ORDER BY place DESC
"""


def run_up_to(reply_id: UUID) -> list[UUID]:
    """Return the replies and outputs of a run up to a reply, oldest first. A reply to a question is alone. One query."""
    with connection.cursor() as cursor:
        cursor.execute(RUN_SQL, {"reply_id": reply_id, "most_rows": MOST_ROWS})
        return [row[0] for row in cursor.fetchall()] or [reply_id]


def first_reply_of_run(reply_id: UUID) -> UUID:
    """Return the first reply of the run that a reply belongs to: itself if it answers a question. One query."""
    return run_up_to(reply_id)[0]
