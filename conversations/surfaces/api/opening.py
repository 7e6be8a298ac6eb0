"""What opening a conversation reads: it and all of its messages, in one short statement, if they are few and short.

Most conversations are. For these, PostgreSQL need not add up the bytes of their texts, sort them by id as well, or look at the
conversation twice. `queries` reads the others.
"""

from itertools import pairwise
from typing import Any
from uuid import UUID

from chatapi.database.round_trips import read_together
from conversations import message_batches
from conversations.exceptions import ConversationNotFound
from conversations.models import Status
from conversations.placeholders import TEXT_SQL

MOST_MESSAGES = 128
IS_SHORT_SQL = f"octet_length(content) + octet_length(reasoning) <= %(most_bytes)s / {MOST_MESSAGES}"
# How a column is read, unless it is read as it is. Texts that are not short are null.
FORMS = {
    "content": f"CASE WHEN {IS_SHORT_SQL} THEN {TEXT_SQL} END",
    "reasoning": f"CASE WHEN {IS_SHORT_SQL} THEN reasoning END",
    "tool_calls": "tool_calls::text",
}
# The request has their values, so PostgreSQL need not send them.
KNOWN = ("user_id", "conversation_id")

Row = dict[str, Any]


class ShortConversations:
    """Reads these columns of a conversation and of its messages."""

    def __init__(self, columns: tuple[str, ...], message_columns: tuple[str, ...]) -> None:
        self._columns = [name for name in columns if name not in KNOWN]
        self._message_columns = [name for name in message_columns if name not in KNOWN]
        own = ", ".join(f"{name} AS conversation_{name}" for name in self._columns)
        theirs = ", ".join(f"{FORMS.get(name, name)} AS {name}" for name in self._message_columns)
        # OFFSET 0: otherwise the queue would be looked up for each message. A running reply need not be active. As a value, the
        # limit tells PostgreSQL to plan for a part of the rows, which an index gives in their order.
        self._sql = f"""
SELECT conversation.*, message.* FROM (
    SELECT EXISTS (SELECT FROM queued_messages WHERE conversation_id = %(id)s AND NOT is_started) AS has_queue, {own}
    FROM conversations
    WHERE id = %(id)s AND user_id = %(user_id)s AND (expires_at IS NULL OR expires_at > statement_timestamp()) OFFSET 0
) AS conversation
LEFT JOIN LATERAL (
    SELECT {theirs} FROM messages
    WHERE conversation_id = %(id)s AND (is_active OR status = 'streaming')
    ORDER BY created_at DESC LIMIT %(limit)s
) AS message ON true
"""  # noqa: S608  # only names of columns and constants go into it

    def read(self, conversation_id: UUID, user_id: UUID) -> tuple[Row, list[Row], UUID | None] | None:
        """Return a conversation, the messages of its active branch, newest first, and its running reply. One query.

        Return None if it has many messages, a long one or two of the same time, or if a message waits.
        Raises `ConversationNotFound`.
        """
        limits = {"most_bytes": message_batches.MAX_BATCH_BYTES, "limit": MOST_MESSAGES + 1}
        (found,) = read_together((self._sql, {"id": conversation_id, "user_id": user_id, **limits}))
        if not found:
            raise ConversationNotFound
        if len(found) > MOST_MESSAGES or found[0][0]:
            return None
        width = 1 + len(self._columns)
        row = {"user_id": user_id, **dict(zip(self._columns, found[0][1:width], strict=True))}
        columns = (*self._message_columns, "conversation_id")
        read = [dict(zip(columns, (*one[width:], conversation_id), strict=False)) for one in found]
        if read[0]["id"] is None:
            return row, [], None
        if any(message["content"] is None for message in read):
            return None
        if any(one["created_at"] == other["created_at"] for one, other in pairwise(read)):
            # Their ids have an order that the index does not have.
            return None
        running = next((message["id"] for message in read if message["status"] == Status.STREAMING), None)
        return row, [message for message in read if message["is_active"]], running
