"""Count usage from the messages: usage from before the totals existed, and messages that other software wrote.

Principle: for each user and quarter of an hour, the new total is the greater of the old total and the sum over the messages.
Both count the same events and may lack some: the totals lack what other software wrote, the messages lack what was deleted. So
nothing is counted twice, however often this runs. A batch is one day in UTC, which consists of whole quarters. What a client
brought along is no usage.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta

from django.db import connection, transaction

from conversations.expressions import MESSAGE_DAY_SQL
from conversations.services.history.id_batches import pause, prefer_indexes
from conversations.services.usage.model_totals import merge_models_sql, model_sums_sql

# No request can ask for usage outside these days, and Python can't represent all times outside them.
FIRST_DAY, LAST_DAY = date(1970, 1, 1), date(9998, 12, 31)

NEXT_DAY_SQL = f"""
SELECT {MESSAGE_DAY_SQL} FROM messages
WHERE {MESSAGE_DAY_SQL} BETWEEN %(first)s AND %(last)s
ORDER BY {MESSAGE_DAY_SQL} LIMIT 1
"""  # noqa: S608  # only constants go into it

# A reply that was continued counts at several times, which its row does not know, so it is left out here.
#
# A question that was sent again with its key moves to the end of its conversation. It was counted at its first time, where its
# first answer still is, so it is left out here. Correct totals are not locked, because sends of that user would wait for them.
# The others are locked in one order, so that two runs can't deadlock.
_MERGED_SQL = merge_models_sql("known.by_model", "told.by_model", "greatest({}, {})")
COUNT_DAY_SQL = f"""
WITH counted AS MATERIALIZED (
    SELECT conversations.user_id, date_bin('15 minutes', messages.created_at, 'epoch') AS bucket,
           role, messages.model_tag, token_count, prompt_tokens, inference_time_ms
    FROM messages JOIN conversations ON conversations.id = messages.conversation_id
    WHERE {MESSAGE_DAY_SQL} = %(day)s AND conversations.user_id IS NOT NULL
      AND messages.source IS NULL AND messages.continuations IS NULL
      AND NOT (role = 'user' AND idempotency_key IS NOT NULL AND EXISTS (
          SELECT FROM messages AS answer WHERE answer.parent_id = messages.id AND answer.role = 'assistant'
            AND answer.created_at < messages.created_at))
), totals AS (
    SELECT user_id, bucket, count(*) FILTER (WHERE role = 'user') AS messages,
           count(*) FILTER (WHERE role = 'assistant') AS replies,
           coalesce(sum(token_count) FILTER (WHERE role = 'assistant'), 0) AS tokens,
           coalesce(sum(prompt_tokens), 0) AS prompt_tokens, coalesce(sum(inference_time_ms), 0) AS inference_time_ms
    FROM counted GROUP BY 1, 2
), of_models AS (
    SELECT user_id, bucket, model_tag, {model_sums_sql()}
    FROM counted WHERE role = 'assistant' AND model_tag <> '' AND inference_time_ms IS NOT NULL GROUP BY 1, 2, 3
), models AS (
    SELECT user_id, bucket, jsonb_object_agg(model_tag, parts) AS by_model FROM of_models GROUP BY 1, 2
), told AS MATERIALIZED (
    SELECT totals.*, models.by_model FROM totals LEFT JOIN models USING (user_id, bucket)
)
INSERT INTO usage_totals AS total (user_id, bucket, messages, replies, tokens, prompt_tokens, inference_time_ms, by_model)
SELECT told.* FROM told LEFT JOIN usage_totals AS known USING (user_id, bucket)
WHERE known.user_id IS NULL OR known.messages < told.messages OR known.replies < told.replies OR known.tokens < told.tokens
   OR known.prompt_tokens < told.prompt_tokens OR known.inference_time_ms < told.inference_time_ms
   OR known.by_model IS DISTINCT FROM {_MERGED_SQL}
ORDER BY told.user_id, told.bucket
ON CONFLICT (user_id, bucket) DO UPDATE SET
    messages = greatest(total.messages, excluded.messages), replies = greatest(total.replies, excluded.replies),
    tokens = greatest(total.tokens, excluded.tokens), prompt_tokens = greatest(total.prompt_tokens, excluded.prompt_tokens),
    inference_time_ms = greatest(total.inference_time_ms, excluded.inference_time_ms),
    by_model = {merge_models_sql("total.by_model", "excluded.by_model", "greatest({}, {})")}
"""  # noqa: S608  # only constants go into it


@dataclass(slots=True)
class CountResult:
    """What a run has done so far. `next_day` is where the next run continues."""

    days: int = 0
    changed: int = 0
    next_day: date | None = None
    is_complete: bool = False


def count_usage(
    *,
    since: date = FIRST_DAY,
    pause_s: float = 0.0,
    should_stop: Callable[[], bool] = lambda: False,
    on_day: Callable[[CountResult], None] = lambda result: None,
) -> CountResult:
    """Raise the totals to the sums over the messages, each day in its own transaction. Safe to repeat."""
    result = CountResult(next_day=since)
    while not should_stop():
        with transaction.atomic(), connection.cursor() as cursor:
            prefer_indexes()
            cursor.execute(NEXT_DAY_SQL, {"first": result.next_day, "last": LAST_DAY})
            row = cursor.fetchone()
            if row is not None:
                cursor.execute(COUNT_DAY_SQL, {"day": row[0]})
                result.changed += cursor.rowcount
        if row is None:
            result.next_day = None
            result.is_complete = True
            break
        result.days += 1
        result.next_day = row[0] + timedelta(days=1)
        on_day(result)
        pause(pause_s, should_stop)
    return result
