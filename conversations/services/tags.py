"""Count a user's tags."""

from typing import Any
from uuid import UUID

from django.db import connection

# Of a user with more, the newest tagged conversations and the most frequent tags count.
MOST_CONVERSATIONS = 10_000
MOST_TAGS = 1_000
COUNT_SQL = """
WITH tagged AS MATERIALIZED (
    SELECT tags, tag_keys, is_archived, row_number() OVER () AS place FROM (
        SELECT tags, tag_keys, is_archived FROM conversations
        WHERE user_id = %(user_id)s AND tag_keys IS NOT NULL AND is_listed AND expires_at IS NULL
        ORDER BY updated_at DESC, id DESC LIMIT %(most_conversations)s
    ) AS newest
)
SELECT tag, total - archived, archived FROM (
    SELECT key, (array_agg(tag ORDER BY place))[1] AS tag, count(*) AS total, count(*) FILTER (WHERE is_archived) AS archived
    FROM tagged CROSS JOIN LATERAL unnest(tags, tag_keys) AS own (tag, key)
    GROUP BY key ORDER BY total DESC, key LIMIT %(most_tags)s
) AS counted ORDER BY key
"""


def count_tags(*, user_id: UUID) -> list[dict[str, Any]]:
    """Return a user's tags with the numbers of conversations that have them, in alphabetical order. One query."""
    with connection.cursor() as cursor:
        cursor.execute(COUNT_SQL, {"user_id": user_id, "most_conversations": MOST_CONVERSATIONS, "most_tags": MOST_TAGS})
        rows = cursor.fetchall()
    return [{"tag": tag, "count": count, "archived_count": archived} for tag, count, archived in rows]
