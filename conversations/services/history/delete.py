"""Delete many conversations at once with two statements, messages first.

ON DELETE CASCADE alone would not return the number of deleted messages. Django's own cascade would load the messages.
"""

from django.db import connection

from conversations.services.history.files.id_arrays import IdArray


def delete_with_messages(conversation_ids: IdArray, *, moves: str = "allowed") -> tuple[int, int]:
    """Delete conversations that the caller's transaction has locked. Return the numbers of conversations and messages.

    Those of users who are moved to another cell may be deleted too; `moves` says how (see migration 0063).
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('chat_api.moves', %s, true)", [moves])
        cursor.execute("DELETE FROM messages WHERE conversation_id = ANY(%s::uuid[])", [conversation_ids.text])
        messages = cursor.rowcount
        cursor.execute("DELETE FROM conversations WHERE id = ANY(%s::uuid[])", [conversation_ids.text])
        return cursor.rowcount, messages
