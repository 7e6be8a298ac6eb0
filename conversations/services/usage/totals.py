"""How much a user has used the service.

Totals per user and quarter of an hour are updated as users send. Deleting and pruning messages does not change them;
`erase_user` removes them. The offset of every time zone is a multiple of 15 minutes, so its days consist of whole quarters.

The statements that save a turn and its result also count it, in the user's row of one quarter. They wait for no lock on that
row: if another statement has locked it, the worker adds the difference a moment later (`count_uncounted`). If that worker dies
first, the command `count_usage` adds it. So a lock that somebody forgot keeps no message from being saved. Conversations
without a user are not counted.
"""

from collections import deque
from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from django.db import connection

from chatapi.database.connections import Runner
from chatapi.database.round_trips import Rows

MOST_DAYS = 92

# What the row of totals grows by, with its key.
DIFFERENCE = ("user_id", "bucket", "messages", "replies", "tokens", "prompt_tokens", "inference_time_ms")

# Part of a statement that has a `difference`. Where another statement holds the totals, neither `added` nor `begun` has a row.
_ADD_CTES = """
free AS MATERIALIZED (
    SELECT difference.* FROM difference JOIN usage_totals AS total USING (user_id, bucket)
    FOR NO KEY UPDATE OF total SKIP LOCKED
), added AS (
    UPDATE usage_totals AS total SET messages = total.messages + free.messages,
        replies = total.replies + free.replies, tokens = total.tokens + free.tokens,
        prompt_tokens = total.prompt_tokens + free.prompt_tokens,
        inference_time_ms = total.inference_time_ms + free.inference_time_ms
    FROM free WHERE total.user_id = free.user_id AND total.bucket = free.bucket
    RETURNING total.user_id
), begun AS (
    INSERT INTO usage_totals (user_id, bucket, messages, replies, tokens, prompt_tokens, inference_time_ms)
    SELECT difference.* FROM difference WHERE NOT EXISTS (SELECT FROM free)
    ON CONFLICT (user_id, bucket) DO NOTHING
    RETURNING user_id
)
"""
# What that statement returns: the difference, as `note_uncounted` takes it, or null if it is counted.
UNCOUNTED_SQL = f"""
(SELECT ARRAY[{", ".join(f"{name}::text" for name in DIFFERENCE)}] FROM difference
 WHERE NOT EXISTS (SELECT FROM added) AND NOT EXISTS (SELECT FROM begun))
"""  # noqa: S608

# Part of a statement that updates a conversation for a turn as `touched (user_id)`.
COUNT_TURN_CTES = f"""
difference AS MATERIALIZED (
    SELECT user_id, date_bin('15 minutes', now(), 'epoch') AS bucket, %(sent)s AS messages, 1 AS replies,
           0 AS tokens, 0 AS prompt_tokens, 0 AS inference_time_ms
    FROM touched WHERE user_id IS NOT NULL
), {_ADD_CTES}
"""  # noqa: S608

# Part of a statement that saves a reply's result; `before` is the row until then. A result may be saved twice, or after a
# guess, so this counts the difference. An infinite time belongs to no quarter and must not keep the reply from being saved.
# What continues a reply counts when it is said: otherwise an old reply could be continued past today's quota.
COUNT_RESULT_CTES = f"""
difference AS MATERIALIZED (
    SELECT conversations.user_id,
           date_bin('15 minutes', CASE WHEN before.continuations IS NULL AND isfinite(before.created_at)
               THEN before.created_at ELSE now() END, 'epoch') AS bucket,
           0 AS messages, 0 AS replies,
           coalesce(%(token_count)s, 0) - coalesce(before.token_count, 0) AS tokens,
           coalesce(%(prompt_tokens)s, 0) - coalesce(before.prompt_tokens, 0) AS prompt_tokens,
           coalesce(%(inference_time_ms)s, 0) - coalesce(before.inference_time_ms, 0) AS inference_time_ms
    FROM before JOIN conversations ON conversations.id = before.conversation_id
    WHERE conversations.user_id IS NOT NULL
), {_ADD_CTES}
"""  # noqa: S608

# Adds a difference that was not counted with its turn or its reply, unless the totals are still locked.
COUNT_LATER_SQL = """
WITH free AS MATERIALIZED (
    SELECT user_id, bucket FROM usage_totals AS total
    WHERE user_id = %(user_id)s::uuid AND bucket = %(bucket)s::timestamptz
    FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE usage_totals AS total SET messages = total.messages + %(messages)s::bigint,
    replies = total.replies + %(replies)s::bigint, tokens = total.tokens + %(tokens)s::bigint,
    prompt_tokens = total.prompt_tokens + %(prompt_tokens)s::bigint,
    inference_time_ms = total.inference_time_ms + %(inference_time_ms)s::bigint
FROM free WHERE total.user_id = free.user_id AND total.bucket = free.bucket
RETURNING total.user_id
"""
# Bounded: in a long trouble, `count_usage` adds the rest.
MOST_UNCOUNTED = 10_000

USAGE_SQL = """
SELECT width_bucket(bucket, %(midnights)s::timestamptz[]) AS day,
       sum(messages), sum(replies), sum(tokens), sum(prompt_tokens), sum(inference_time_ms)
FROM usage_totals
WHERE user_id = %(user_id)s AND bucket >= %(begin)s AND bucket < %(end)s
GROUP BY day
"""

_uncounted: deque[dict[str, str]] = deque(maxlen=MOST_UNCOUNTED)
COUNTS = ("messages", "replies", "tokens", "prompt_tokens", "inference_time_ms")


def note_uncounted(difference: Sequence[str]) -> None:
    """Have a difference added later. For what is committed."""
    _uncounted.append(dict(zip(DIFFERENCE, difference, strict=True)))


def has_uncounted() -> bool:
    """Whether this process still has to add something."""
    return bool(_uncounted)


def count_uncounted(run: Runner) -> None:
    """Add what could not be counted because its totals were locked. What still can't be waits for the next time."""
    for _ in range(len(_uncounted)):
        try:
            difference = _uncounted.popleft()
        except IndexError:
            # Another thread was faster.
            return
        counted: Rows = []
        try:
            counted = run((COUNT_LATER_SQL, difference))[0]
        finally:
            if not counted:
                _uncounted.append(difference)


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
