"""How much a user has used the service.

Totals per user and quarter of an hour are updated as users send. Deleting and pruning messages does not change them;
`erase_user` removes them. The offset of every time zone is a multiple of 15 minutes, so its days consist of whole quarters.

The statements that save a turn and its result also count it, so it is counted if and only if it is saved. They lock the user's
row of the current quarter last, and no other row of totals. So a send waits for another one of the same user for the time of a
commit at most, and never for other users. Conversations without a user are not counted.
"""

from datetime import date, datetime, time, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from django.db import connection

MOST_DAYS = 92

# Part of a statement that updates a conversation for a turn as `touched (user_id)`.
COUNT_TURN_SQL = """
INSERT INTO usage_totals AS total (user_id, bucket, messages, replies)
SELECT user_id, date_bin('15 minutes', now(), 'epoch'), %(sent)s, 1 FROM touched WHERE user_id IS NOT NULL
ON CONFLICT (user_id, bucket)
DO UPDATE SET messages = total.messages + excluded.messages, replies = total.replies + excluded.replies
"""

# Part of a statement that saves a reply's result; `before` is the row until then. A result may be saved twice, or after a
# guess, so this counts the difference. An infinite time belongs to no quarter and must not keep the reply from being saved.
COUNT_RESULT_SQL = """
INSERT INTO usage_totals AS total (user_id, bucket, tokens, prompt_tokens, inference_time_ms)
SELECT conversations.user_id,
       date_bin('15 minutes', CASE WHEN isfinite(before.created_at) THEN before.created_at ELSE now() END, 'epoch'),
       %(token_count)s - coalesce(before.token_count, 0),
       coalesce(%(prompt_tokens)s, 0) - coalesce(before.prompt_tokens, 0),
       %(inference_time_ms)s - coalesce(before.inference_time_ms, 0)
FROM before JOIN conversations ON conversations.id = before.conversation_id
WHERE conversations.user_id IS NOT NULL
ON CONFLICT (user_id, bucket)
DO UPDATE SET tokens = total.tokens + excluded.tokens, prompt_tokens = total.prompt_tokens + excluded.prompt_tokens,
    inference_time_ms = total.inference_time_ms + excluded.inference_time_ms
"""

USAGE_SQL = """
SELECT width_bucket(bucket, %(midnights)s::timestamptz[]) AS day,
       sum(messages), sum(replies), sum(tokens), sum(prompt_tokens), sum(inference_time_ms)
FROM usage_totals
WHERE user_id = %(user_id)s AND bucket >= %(begin)s AND bucket < %(end)s
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
