"""List the users of the service and their totals, for admins.

The users are those in the directory (`chat_users`), the owners of conversations, who may be the predecessor's users, and
everyone in the predecessor's table `users` if it exists and may be read. Counts stop at a limit, so that every page costs the
same.
"""

from typing import Any
from uuid import UUID

from django.db import connection

# A count of this number means: at least this number.
MOST_COUNTED = 10_000
# Tables up to this size are counted; the size of larger ones is PostgreSQL's own estimate.
MOST_ROWS_COUNTED = 100_000

# Checked first, so that no statement fails. If the table, a column or a privilege is missing, this is false and not an error.
PREDECESSORS_USERS_SQL = """
SELECT count(*) = 6 FROM pg_attribute
WHERE attrelid = to_regclass('users') AND attnum > 0 AND has_column_privilege(attrelid, attnum, 'SELECT')
  AND CASE attname
      WHEN 'id' THEN atttypid = 'uuid'::regtype
      WHEN 'created_at' THEN atttypid = 'timestamptz'::regtype
      WHEN 'last_login_at' THEN atttypid = 'timestamptz'::regtype
      ELSE attname IN ('email', 'name', 'provider')
  END
"""

# The recursive part jumps from one user to the next in idx_conversations_user, however many conversations each has.
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
), registered AS ({registered}), page AS (
    SELECT id FROM some_owners UNION SELECT id FROM known UNION SELECT id FROM registered ORDER BY id LIMIT %(limit)s
)
SELECT page.id, coalesce(nullif(chat_users.email, ''), account.email, '') AS email,
       coalesce(nullif(chat_users.name, ''), account.name, '') AS name, coalesce(chat_users.is_admin, false) AS is_admin,
       chat_users.first_seen_at, chat_users.last_seen_at, conversations.count AS conversations, messages.count AS messages,
       coalesce(account.provider, '') AS provider, account.created_at, account.last_login_at
FROM page
LEFT JOIN chat_users ON chat_users.id = page.id
LEFT JOIN LATERAL ({account}) AS account ON true
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
WITH_USERS_SQL = USERS_SQL.format(
    registered="SELECT id FROM users WHERE id > %(after)s ORDER BY id LIMIT %(limit)s",
    account="""SELECT email::text, name::text, provider::text, created_at, last_login_at FROM users WHERE users.id = page.id""",
)
WITHOUT_USERS_SQL = USERS_SQL.format(
    registered="SELECT NULL::uuid AS id WHERE false",
    account="""SELECT NULL::text AS email, NULL::text AS name, NULL::text AS provider, NULL::timestamptz AS created_at,
        NULL::timestamptz AS last_login_at""",
)
COLUMNS = (
    "id",
    "email",
    "name",
    "is_admin",
    "first_seen_at",
    "last_seen_at",
    "conversations",
    "messages",
    "provider",
    "created_at",
    "last_login_at",
)
SMALLEST_ID = UUID(int=0)


def list_users(*, after: UUID | None, limit: int) -> list[dict[str, Any]]:
    """Return users in the order of their ids, with COLUMNS, and the counts also under the predecessor's names. Two queries.

    Unknown texts are "" and unknown times None.
    """
    statement = WITH_USERS_SQL if _has_predecessors_users() else WITHOUT_USERS_SQL
    with connection.cursor() as cursor:
        cursor.execute(statement, {"after": after or SMALLEST_ID, "limit": limit, "most": MOST_COUNTED})
        rows = [dict(zip(COLUMNS, row, strict=True)) for row in cursor.fetchall()]
    return [{**row, "conversation_count": row["conversations"], "message_count": row["messages"]} for row in rows]


def _has_predecessors_users() -> bool:
    """Return whether the predecessor's table of users exists with its columns and may be read."""
    with connection.cursor() as cursor:
        cursor.execute(PREDECESSORS_USERS_SQL)
        return bool(cursor.fetchone()[0])


def count_totals() -> dict[str, Any]:
    """Return `{"users", "conversations", "messages", "estimated"}`. `users` is the size of the predecessor's table or ours."""
    totals: dict[str, Any] = {"estimated": False}
    users = "users" if _has_predecessors_users() else "chat_users"
    with connection.cursor() as cursor:
        for name, table in (("users", users), ("conversations", "conversations"), ("messages", "messages")):
            cursor.execute("SELECT reltuples::bigint FROM pg_class WHERE oid = %s::regclass", [table])
            count = cursor.fetchone()[0]
            if count <= MOST_ROWS_COUNTED:
                # Bounded, because the estimate may be old. It is -1 for a table that was never analysed.
                bounded = f"SELECT count(*) FROM (SELECT FROM {table} LIMIT %s) AS counted"  # noqa: S608  # our own names
                cursor.execute(bounded, [10 * MOST_ROWS_COUNTED])
                count = cursor.fetchone()[0]
            else:
                totals["estimated"] = True
            totals[name] = count
    return totals
