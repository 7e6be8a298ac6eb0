"""The users of the service, for admins: who there is, and how much each has.

Users are known from the auth service (`chat_users`), and those of the predecessor, who may not have come back yet, from
their conversations. Counting stops at a bound, so that a page costs the same whoever stands on it.
"""

from typing import Any
from uuid import UUID

from django.db import connection

# A count of this many means: at least so many.
MOST_COUNTED = 10_000
# Tables up to this size are counted; the size of larger ones is PostgreSQL's own estimate.
MOST_ROWS_COUNTED = 100_000

# The recursive part jumps from one user to the next along idx_conversations_user, whatever each of them has.
USERS_SQL = """
WITH RECURSIVE owners AS (
    (SELECT user_id FROM conversations WHERE user_id > %(after)s ORDER BY user_id LIMIT 1)
    UNION ALL
    SELECT (SELECT user_id FROM conversations WHERE user_id > owners.user_id ORDER BY user_id LIMIT 1)
    FROM owners WHERE owners.user_id IS NOT NULL
), some_owners AS (
    SELECT user_id AS id FROM owners WHERE user_id IS NOT NULL LIMIT %(limit)s
), known AS (
    SELECT id FROM chat_users WHERE id > %(after)s ORDER BY id LIMIT %(limit)s
), page AS (
    SELECT id FROM some_owners UNION SELECT id FROM known ORDER BY id LIMIT %(limit)s
)
SELECT page.id, chat_users.email, chat_users.name, coalesce(chat_users.is_admin, false),
       chat_users.first_seen_at, chat_users.last_seen_at, conversations.count, messages.count
FROM page
LEFT JOIN chat_users ON chat_users.id = page.id
CROSS JOIN LATERAL (
    SELECT count(*) FROM (SELECT FROM conversations WHERE user_id = page.id LIMIT %(most)s) AS counted
) AS conversations
CROSS JOIN LATERAL (
    SELECT count(*) FROM (
        SELECT FROM conversations JOIN messages ON messages.conversation_id = conversations.id
        WHERE conversations.user_id = page.id LIMIT %(most)s
    ) AS counted
) AS messages
ORDER BY page.id
"""
COLUMNS = ("id", "email", "name", "is_admin", "first_seen_at", "last_seen_at", "conversations", "messages")
NOBODY = UUID(int=0)


def list_users(*, after: UUID | None, limit: int) -> list[dict[str, Any]]:
    """Return users by id: `{"id", "email", "name", "is_admin", "first_seen_at", "last_seen_at", "conversations",
    "messages"}`; email and name are "" where only the predecessor knew them. One query."""
    with connection.cursor() as cursor:
        cursor.execute(USERS_SQL, {"after": after or NOBODY, "limit": limit, "most": MOST_COUNTED})
        rows = [dict(zip(COLUMNS, row, strict=True)) for row in cursor.fetchall()]
    return [{**row, "email": row["email"] or "", "name": row["name"] or ""} for row in rows]


def count_totals() -> dict[str, Any]:
    """Return `{"users", "conversations", "messages", "estimated"}`; `users` are those that the auth service knows."""
    totals: dict[str, Any] = {"estimated": False}
    with connection.cursor() as cursor:
        for name, table in (("users", "chat_users"), ("conversations", "conversations"), ("messages", "messages")):
            cursor.execute("SELECT reltuples::bigint FROM pg_class WHERE oid = %s::regclass", [table])
            count = cursor.fetchone()[0]
            if count <= MOST_ROWS_COUNTED:
                # Bounded even where the estimate is old: it is -1 of a table that was never analysed.
                bounded = f"SELECT count(*) FROM (SELECT FROM {table} LIMIT %s) AS counted"  # noqa: S608  # our own names
                cursor.execute(bounded, [10 * MOST_ROWS_COUNTED])
                count = cursor.fetchone()[0]
            else:
                totals["estimated"] = True
            totals[name] = count
    return totals
