"""Deleting many conversations at once: two set-based statements, messages first.

The database's own ON DELETE CASCADE, left to itself, would not say how many messages went; Django's would load them.
"""

from django.db import connection

from conversations.services.history.id_arrays import IdArray


def delete_with_messages(conversation_ids: IdArray) -> tuple[int, int]:
    """Delete conversations, which the caller's transaction has locked, and return how many rows: conversations, messages."""
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM messages WHERE conversation_id = ANY(%s::uuid[])", [conversation_ids.text])
        messages = cursor.rowcount
        cursor.execute("DELETE FROM conversations WHERE id = ANY(%s::uuid[])", [conversation_ids.text])
        return cursor.rowcount, messages
