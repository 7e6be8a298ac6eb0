"""The messages of a conversation that is opened, in one short statement, if they are few and short.

Most conversations are like that. For these, PostgreSQL need not add up the bytes of their texts, nor sort them by id as well.
`queries` reads the others.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any
from uuid import UUID

from chatapi.database.round_trips import Rows, Statement
from conversations import message_batches
from conversations.placeholders import NO_TEXT

MOST_MESSAGES = 128
TEXTS_EACH = 2
# How a column is read, unless it is read as it is. Texts that are not short are null.
FORMS = {
    "content": "CASE WHEN octet_length(content) <= %(most_bytes)s THEN content END",
    "reasoning": "CASE WHEN octet_length(reasoning) <= %(most_bytes)s THEN reasoning END",
    "tool_calls": "tool_calls::text",
}

Row = dict[str, Any]


class ShortMessages:
    """Reads these columns of the messages of a conversation."""

    def __init__(self, columns: tuple[str, ...]) -> None:
        # It is known, so PostgreSQL need not send it.
        self._columns = [name for name in columns if name != "conversation_id"]
        read = ", ".join(FORMS.get(name, name) for name in self._columns)
        # A running reply need not be active. As a value, the limit tells PostgreSQL to plan for a part of the rows, which an
        # index gives in their order.
        self._sql = f"""
SELECT {read} FROM messages
WHERE conversation_id = %(conversation_id)s AND (is_active OR status = 'streaming')
ORDER BY created_at DESC LIMIT %(limit)s
"""  # noqa: S608  # only names of columns and constants go into it

    def statement(self, conversation_id: UUID) -> Statement:
        most_bytes = message_batches.MAX_BATCH_BYTES // (MOST_MESSAGES * TEXTS_EACH)
        return self._sql, {"conversation_id": conversation_id, "most_bytes": most_bytes, "limit": MOST_MESSAGES + 1}

    def read(self, conversation_id: UUID, rows: Rows) -> list[Row] | None:
        """Return the messages that the statement found, newest first.

        Return None if they are many, if one is long, or if two have the same time: their ids have an order that the index
        does not have.
        """
        if len(rows) > MOST_MESSAGES:
            return None
        columns = (*self._columns, "conversation_id")
        messages = [dict(zip(columns, (*row, conversation_id), strict=False)) for row in rows]
        if _has_long_text(messages) or any(one["created_at"] == other["created_at"] for one, other in pairwise(messages)):
            return None
        for message in messages:
            if message["content"] == NO_TEXT:
                message["content"] = ""
        return messages


def _has_long_text(messages: Sequence[Row]) -> bool:
    return any(message["content"] is None or message["reasoning"] is None for message in messages)
