"""How much a user has used the service.

Totals per user and quarter of an hour are updated as users send. Deleting and pruning messages does not change them;
`erase_user` removes them. The offset of every time zone is a multiple of 15 minutes, so its days consist of whole quarters.

The statements that save a turn and its result also count it, in the user's row of one quarter. They wait for no lock on that
row: if another statement has locked it, the worker adds the difference a moment later (`count_uncounted`). If that worker dies
first, the command `count_usage` adds it. So a lock that somebody forgot keeps no message from being saved. Conversations
without a user are not counted.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from django.db import connection

from chatapi.database.connections import Runner
from chatapi.database.round_trips import Rows
from conversations.services.usage.model_totals import PARTS, Breakdown, add_models_sql, break_down

MOST_DAYS = 92

# What the row of totals grows by, with its key.
COUNTS = ("messages", "replies", "tokens", "prompt_tokens", "inference_time_ms")
# What it adds to `models` (see `model_totals`), if the model is known.
OF_MODEL = ("model", *(f"model_{part}" for part in PARTS))
DIFFERENCE = ("user_id", "bucket", *COUNTS, *OF_MODEL)

# Part of a statement that updates a conversation for a turn as `touched (user_id)`. `count_usage` is in the database (migration
# 0059). It returns what it could not count because another statement has locked the row, in the order of DIFFERENCE.
COUNT_TURN_CTE = """
counted AS MATERIALIZED (
    SELECT count_usage(user_id, date_bin('15 minutes', now(), 'epoch'), %(sent)s, 1, 0, 0, 0, NULL, 0, 0) AS rest FROM touched
)
"""

# Part of a statement that saves a reply's result; `before` is the row until then. A result may be saved twice, or after a
# guess, so this counts the difference. An infinite time belongs to no quarter and must not keep the reply from being saved.
# What continues a reply counts when it is said: otherwise an old reply could be continued past today's quota.
COUNT_RESULT_CTE = """
counted AS MATERIALIZED (
    SELECT count_usage(
        (SELECT user_id FROM conversations WHERE id = before.conversation_id),
        date_bin('15 minutes', CASE WHEN before.continuations IS NULL AND isfinite(before.created_at)
            THEN before.created_at ELSE now() END, 'epoch'),
        0, 0, coalesce(%(token_count)s, 0) - coalesce(before.token_count, 0),
        coalesce(%(prompt_tokens)s, 0) - coalesce(before.prompt_tokens, 0),
        coalesce(%(inference_time_ms)s, 0) - coalesce(before.inference_time_ms, 0),
        coalesce(%(model_tag)s, before.model_tag)::text, (before.inference_time_ms IS NULL)::int,
        (%(prompt_tokens)s::int IS NULL AND coalesce(%(token_count)s, 0) > 0)::int
        - (before.prompt_tokens IS NULL AND coalesce(before.token_count, 0) > 0)::int
    ) AS rest FROM before
)
"""
# What such a statement must return in its rows: it counts when this is read, and once. Null: all is counted.
UNCOUNTED_SQL = "(SELECT rest FROM counted)"

# Adds a difference that was not counted with its turn or its reply, unless the totals are still locked.
COUNT_LATER_SQL = f"""
WITH free AS MATERIALIZED (
    SELECT user_id, bucket, %(model)s::text AS model, {", ".join(f"%({name})s::bigint AS {name}" for name in OF_MODEL[1:])}
    FROM usage_totals AS total
    WHERE user_id = %(user_id)s::uuid AND bucket = %(bucket)s::timestamptz
    FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE usage_totals AS total SET messages = total.messages + %(messages)s::bigint,
    replies = total.replies + %(replies)s::bigint, tokens = total.tokens + %(tokens)s::bigint,
    prompt_tokens = total.prompt_tokens + %(prompt_tokens)s::bigint,
    inference_time_ms = total.inference_time_ms + %(inference_time_ms)s::bigint,
    by_model = {add_models_sql("free", "total")}
FROM free WHERE total.user_id = free.user_id AND total.bucket = free.bucket
RETURNING total.user_id
"""  # noqa: S608  # only constants go into it
# Bounded: in a long trouble, `count_usage` adds the rest.
MOST_UNCOUNTED = 10_000

USAGE_SQL = """
SELECT width_bucket(bucket, %(midnights)s::timestamptz[]) AS day,
       sum(messages), sum(replies), sum(tokens), sum(prompt_tokens), sum(inference_time_ms)
FROM usage_totals
WHERE user_id = %(user_id)s AND bucket >= %(begin)s AND bucket < %(end)s
GROUP BY day
"""

_uncounted: deque[dict[str, str | None]] = deque(maxlen=MOST_UNCOUNTED)


def note_uncounted(difference: Sequence[str | None]) -> None:
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
    with connection.cursor() as cursor:
        cursor.execute(USAGE_SQL, {"user_id": user_id, **_period(days, zone)})
        found = {row[0]: row[1:] for row in cursor.fetchall()}
    nothing = (0,) * len(COUNTS)
    return [
        {"date": day, **dict(zip(COUNTS, map(int, found.get(number, nothing)), strict=True))}
        for number, day in enumerate(days, start=1)
    ]


def read_breakdown(*, user_id: UUID, days: Sequence[Mapping[str, Any]], zone: ZoneInfo) -> Breakdown:
    """Break the result of `read_usage` down by model, with the costs. One query."""
    return break_down(user_id, days, _period([day["date"] for day in days], zone))


def _period(days: Sequence[date], zone: ZoneInfo) -> dict[str, Any]:
    """Return the midnights of these days and of the one after them, as the statements take them."""
    midnights = [datetime.combine(day, time(tzinfo=zone)) for day in [*days, days[-1] + timedelta(days=1)]]
    return {"midnights": midnights, "begin": midnights[0], "end": midnights[-1]}
