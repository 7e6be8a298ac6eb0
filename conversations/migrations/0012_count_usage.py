"""Count the usage up to now, from the messages: one day at a time, while the service writes.

Not one transaction. If it breaks off, run it again: nothing is counted twice. What is written meanwhile by workers of an
older version, or by the predecessor, is counted by `manage.py count_usage`, later.

The statements are those of `services.history.usage_recount` at the time of this migration: they name no later column.
"""

from datetime import date, timedelta
from typing import Any

from django.db import migrations, transaction

FIRST_DAY, LAST_DAY = date(1970, 1, 1), date(9998, 12, 31)

# The expression of the index idx_messages_day.
DAY_SQL = "((messages.created_at AT TIME ZONE 'UTC')::date)"

NEXT_DAY_SQL = f"""
SELECT {DAY_SQL} FROM messages WHERE {DAY_SQL} BETWEEN %(first)s AND %(last)s ORDER BY {DAY_SQL} LIMIT 1
"""  # noqa: S608  # only constants go into it

COUNT_DAY_SQL = f"""
WITH told AS MATERIALIZED (
    SELECT conversations.user_id, date_bin('15 minutes', messages.created_at, 'epoch') AS bucket,
           count(*) FILTER (WHERE role = 'user') AS messages,
           count(*) FILTER (WHERE role = 'assistant') AS replies,
           coalesce(sum(token_count) FILTER (WHERE role = 'assistant'), 0) AS tokens,
           coalesce(sum(prompt_tokens), 0) AS prompt_tokens,
           coalesce(sum(inference_time_ms), 0) AS inference_time_ms
    FROM messages JOIN conversations ON conversations.id = messages.conversation_id
    WHERE {DAY_SQL} = %(day)s AND conversations.user_id IS NOT NULL
      AND NOT (role = 'user' AND idempotency_key IS NOT NULL AND EXISTS (
          SELECT FROM messages AS answer WHERE answer.parent_id = messages.id AND answer.role = 'assistant'
            AND answer.created_at < messages.created_at))
    GROUP BY 1, 2
)
INSERT INTO usage_totals AS total (user_id, bucket, messages, replies, tokens, prompt_tokens, inference_time_ms)
SELECT told.* FROM told LEFT JOIN usage_totals AS known USING (user_id, bucket)
WHERE known.user_id IS NULL OR known.messages < told.messages OR known.replies < told.replies OR known.tokens < told.tokens
   OR known.prompt_tokens < told.prompt_tokens OR known.inference_time_ms < told.inference_time_ms
ORDER BY told.user_id, told.bucket
ON CONFLICT (user_id, bucket) DO UPDATE SET
    messages = greatest(total.messages, excluded.messages), replies = greatest(total.replies, excluded.replies),
    tokens = greatest(total.tokens, excluded.tokens), prompt_tokens = greatest(total.prompt_tokens, excluded.prompt_tokens),
    inference_time_ms = greatest(total.inference_time_ms, excluded.inference_time_ms)
"""  # noqa: S608  # only constants go into it


def count(apps: Any, schema_editor: Any) -> None:
    day: date | None = FIRST_DAY
    while day is not None:
        day = count_next_day(schema_editor.connection, day)


def count_next_day(connection: Any, first: date) -> date | None:
    """Count the first day from this one on that has messages. Return where to go on, or None at the end."""
    with transaction.atomic(), connection.cursor() as cursor:
        # Without statistics PostgreSQL might read the whole table for each day.
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute(NEXT_DAY_SQL, {"first": first, "last": LAST_DAY})
        row = cursor.fetchone()
        if row is None:
            return None
        cursor.execute(COUNT_DAY_SQL, {"day": row[0]})
    counted: date = row[0]
    return counted + timedelta(days=1)


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("conversations", "0011_usage_totals")]

    operations = [migrations.RunPython(count, migrations.RunPython.noop, elidable=True)]
