"""The times that clients see where a row has none that they can read.

The predecessor's rows may have no time, or one such as `infinity`, and clients expect a time. The order of lists stays the
same. A message shows a time of its conversation: the last turn if the message sorts last, otherwise the start. A conversation
shows its other time, or that of its oldest message. If none of these is known, they show when the first migration was
applied, because the predecessor wrote such rows before.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.db import connection

from chatapi.api.rows import is_known_time

Row = dict[str, Any]


def _known(time: str) -> str:
    # What Python can read.
    return f"CASE WHEN {time} BETWEEN '0001-01-01 00:00+00' AND '9999-12-31 23:59:59.999999+00' THEN {time} END"


# Both are read only where the times before them are unknown.
_OLDEST_MESSAGE = f"""
(SELECT dated.created_at FROM messages AS dated WHERE dated.conversation_id = conversations.id
 AND dated.created_at = ({_known("dated.created_at")}) ORDER BY dated.created_at LIMIT 1)
"""  # noqa: S608  # constants, as all SQL of this module
_TAKEOVER = "(SELECT min(applied) FROM django_migrations WHERE app = 'conversations')"
_CREATED, _UPDATED = _known("conversations.created_at"), _known("conversations.updated_at")
_OTHERS = f"{_OLDEST_MESSAGE}, {_TAKEOVER}, now()"

CONVERSATION_TIME_SQL = f"coalesce({_CREATED}, {_UPDATED}, {_OTHERS})"
# Of a conversation's last turn.
ACTIVITY_TIME_SQL = f"coalesce({_UPDATED}, {_CREATED}, {_OTHERS})"
MESSAGE_TIME_SQL = f"""
coalesce({_known("messages.created_at")}, CASE WHEN messages.created_at < now() THEN {_CREATED} END, {_UPDATED}, {_CREATED},
         {_OTHERS})
"""
_CONVERSATIONS_SQL = f"""
SELECT id, {CONVERSATION_TIME_SQL}, {ACTIVITY_TIME_SQL} FROM conversations WHERE id = ANY(%s)
"""  # noqa: S608
_MESSAGES_SQL = f"""
SELECT messages.id, {MESSAGE_TIME_SQL} FROM messages JOIN conversations ON conversations.id = conversation_id
WHERE messages.id = ANY(%s)
"""  # noqa: S608


def with_conversation_times(rows: Sequence[Row]) -> Sequence[Row]:
    """Give rows of conversations that have no known time one, and return the rows. No query if all have one.

    A row has its `id`. It may be changed, so read a cursor from it before.
    """
    return _with_times(rows, _CONVERSATIONS_SQL, ("created_at", "updated_at"))


def with_message_times(rows: Sequence[Row]) -> Sequence[Row]:
    """Do the same for rows of messages."""
    return _with_times(rows, _MESSAGES_SQL, ("created_at",))


def _with_times(rows: Sequence[Row], sql: str, names: tuple[str, ...]) -> Sequence[Row]:
    *others, usual = names
    # Lists call this for each row, so nearly all rows take one look.
    unknown = [
        row for row in rows if type(row.get(usual)) is not datetime and not any(is_known_time(row.get(name)) for name in others)
    ]
    if unknown:
        with connection.cursor() as cursor:
            cursor.execute(sql, [[row["id"] for row in unknown]])
            found = {row_id: dict(zip(names, times, strict=True)) for row_id, *times in cursor.fetchall()}
        for row in unknown:
            # A row that was deleted in the meantime is not found.
            row |= {name: time for name, time in found.get(row["id"], {}).items() if name in row}
    return rows
