"""Deleting many conversations at once: two set-based statements, messages first.

The database's own ON DELETE CASCADE would look for messages once per conversation, and Django's would load them.
"""

from collections.abc import Sequence
from uuid import UUID

from django.db import connection


def delete_with_messages(conversation_ids: Sequence[UUID]) -> tuple[int, int]:
    """Delete conversations, which the caller's transaction has locked, and return how many rows: conversations, messages."""
    ids = list(conversation_ids)
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM messages WHERE conversation_id = ANY(%s::uuid[])", [ids])
        messages = cursor.rowcount
        cursor.execute("DELETE FROM conversations WHERE id = ANY(%s::uuid[])", [ids])
        return cursor.rowcount, messages
