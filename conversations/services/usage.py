"""How much a user has used the service."""

from datetime import date, datetime, time, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from django.db import connection

MOST_DAYS = 92

# A message is not younger than its conversation's last turn (an hour, for the predecessor's replies, whose time was that of
# their end): that bounds the conversations that can matter, and idx_conversations_user and idx_messages_conversation find
# them and their messages.
USAGE_SQL = """
SELECT width_bucket(messages.created_at, %(midnights)s::timestamptz[]) AS day,
       count(*) FILTER (WHERE role = 'user'),
       count(*) FILTER (WHERE role = 'assistant'),
       coalesce(sum(token_count) FILTER (WHERE role = 'assistant'), 0),
       coalesce(sum(prompt_tokens), 0),
       coalesce(sum(inference_time_ms), 0)
FROM conversations
JOIN messages ON messages.conversation_id = conversations.id
WHERE conversations.user_id = %(user_id)s
  AND (conversations.updated_at >= %(begin)s - interval '1 hour' OR conversations.updated_at IS NULL)
  AND messages.created_at >= %(begin)s AND messages.created_at < %(end)s
GROUP BY day
"""
COUNTS = ("messages", "replies", "tokens", "prompt_tokens", "inference_time_ms")


def read_usage(*, user_id: UUID, first: date, last: date, zone: ZoneInfo) -> list[dict[str, Any]]:
    """Return `[{"date", "messages", "replies", "tokens", "prompt_tokens", "inference_time_ms"}]` for every day from `first`
    to `last`, oldest first; days are those of the time zone. `messages` are the user's, the rest is the model's. One query."""
    days = [first + timedelta(days=number) for number in range((last - first).days + 1)]
    midnights = [datetime.combine(day, time(tzinfo=zone)) for day in [*days, last + timedelta(days=1)]]
    values: dict[str, Any] = {"user_id": user_id, "midnights": midnights, "begin": midnights[0], "end": midnights[-1]}
    with connection.cursor() as cursor:
        cursor.execute(USAGE_SQL, values)
        found = {row[0]: row[1:] for row in cursor.fetchall()}
    nothing = (0,) * len(COUNTS)
    return [
        {"date": day, **dict(zip(COUNTS, map(int, found.get(number, nothing)), strict=True))}
        for number, day in enumerate(days, start=1)
    ]
