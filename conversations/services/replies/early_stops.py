"""Stops of chats that do not exist yet: their first send is still on its way.

There is no conversation to leave a mark on (see `stop_marks`), so the mark waits in a table of its own. The send that creates
the chat takes it and puts it on the conversation, where it counts as any other. Both hold one lock, so neither overlooks the
other.
"""

from typing import Any
from uuid import UUID

from django.db import connection, transaction

from conversations.models import Conversation

LOCK_SQL = "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))"
# No send is on its way any more for older marks. Removing them here keeps the table small.
FORGET_SQL = """
DELETE FROM early_stops WHERE id IN (
    SELECT id FROM early_stops WHERE stopped_at < now() - interval '30 seconds' LIMIT 100 FOR UPDATE SKIP LOCKED
)
"""
MARK_SQL = """
INSERT INTO early_stops (user_id, name, key, stopped_at) VALUES (%s, %s, %s, clock_timestamp())
ON CONFLICT (user_id, name) DO UPDATE SET key = excluded.key, stopped_at = excluded.stopped_at
"""
TAKE_SQL = "DELETE FROM early_stops WHERE user_id = %s AND name = %s RETURNING stopped_at, key"


def mark_early_stop(*, user_id: UUID, name: str, key: str) -> UUID | None:
    """Leave a mark for the first send of a chat. Return its conversation instead, if it exists by now."""
    with transaction.atomic(), connection.cursor() as cursor:
        # Waits for a send that is creating the chat.
        _lock(cursor, user_id, name)
        found: UUID | None = Conversation.objects.of_session(name, user_id).values_list("id", flat=True).first()
        if found is None:
            cursor.execute(FORGET_SQL)
            cursor.execute(MARK_SQL, [user_id, name, key or None])
    return found


def take_early_stop(*, user_id: UUID, name: str) -> dict[str, Any]:
    """Return the columns with which a new conversation records an earlier stop. Keeps the lock until the transaction ends."""
    with connection.cursor() as cursor:
        _lock(cursor, user_id, name)
        cursor.execute(TAKE_SQL, [user_id, name])
        marked = cursor.fetchone()
    return {} if marked is None else {"stop_marked_at": marked[0], "stop_marked_key": marked[1]}


def _lock(cursor: Any, user_id: UUID, name: str) -> None:
    cursor.execute(LOCK_SQL, [f"first-turn:{user_id}:{name}"])
