"""The SQL of a search in a user's own messages, and the limits of each statement.

Each block of statements is a transaction and returns its connection at the end, so that other requests can use it between the
statements of a long search.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from django.db import OperationalError, connection, transaction

from chatapi.database.connections import release_connections
from conversations.expressions import has_phrase_sql, words_sql
from conversations.known_times import ACTIVITY_TIME_SQL, MESSAGE_TIME_SQL

MOST_PROBED_MATCHES = 2000

# The planner would make a tsvector of every message of a small table instead of using the index. For words that it does not
# know it expects many matches; starting workers and compiling would then take longer than the search.
SETTINGS_SQL = """
SELECT set_config('statement_timeout', %s, true), set_config('enable_seqscan', 'off', true),
    set_config('max_parallel_workers_per_gather', '0', true), set_config('jit', 'off', true)
"""

LOOSE, EXACT, TYPED = "%(loose)s::tsquery", "%(exact)s::tsquery", "%(typed)s::text[]"
HAS_WORDS = f"{words_sql('content')} @@ {LOOSE} AND status <> 'streaming'"
HAS_WORD = f"{words_sql('content')} @@ %s::tsquery AND status <> 'streaming'"

# S608 below: only constants are put into these statements; what a caller sends is always a parameter.
EXPECTED_SQL = f"SELECT 1 FROM messages WHERE {HAS_WORD}"  # noqa: S608

# Materialized: because of the outer limit, the planner would otherwise read messages one by one instead of using the index.
PROBE_SQL = f"""
WITH matches AS MATERIALIZED (SELECT 1 FROM messages WHERE {HAS_WORDS})
SELECT count(*) FROM (SELECT 1 FROM matches LIMIT {MOST_PROBED_MATCHES + 1}) AS probed
"""  # noqa: S608
ROWS_SQL = "SELECT reltuples FROM pg_class WHERE oid = 'messages'::regclass"

# How often the words are in the text as it was written.
RANK = """
coalesce((
    SELECT sum(ln(1 + (length(written) - length(replace(written, word, ''))) / length(word)))
    FROM lower(left({text}, 10000)) AS written, unnest(%(wanted)s::text[]) AS asked (word)
), 0)
"""
# Titles come before all messages of their window.
TITLE_RANK = f"1000 + {RANK.format(text='title')}"
BEFORE = "(%(time)s::timestamptz IS NULL OR ({time}, {id}) < (%(time)s::timestamptz, %(id)s::uuid))"
TITLE_BEFORE = BEFORE.format(time="coalesce(updated_at, 'epoch')", id="id")
IS_LISTED = "user_id = %(user_id)s AND expires_at IS NULL AND is_listed"

# Messages without a time, which only the predecessor wrote, count as the oldest. Phrases are looked for in the caller's own
# messages only, the newest first, until there are enough: `theirs` is materialized, because the planner would otherwise look
# through everyone's. A scalar subquery, so that it reads one message for each and no table.
INDEXED_SQL = f"""
WITH matches AS MATERIALIZED (
    SELECT id, conversation_id, coalesce(created_at, 'epoch') AS time FROM messages WHERE {HAS_WORDS} AND is_active
), titled AS MATERIALIZED (
    SELECT id, coalesce(updated_at, 'epoch') AS time FROM conversations
    WHERE {words_sql("title")} @@ {LOOSE} AND {IS_LISTED}
      AND ({EXACT} IS NULL OR {has_phrase_sql("title", EXACT, TYPED)}) AND {TITLE_BEFORE}
    ORDER BY conversations.updated_at DESC, id DESC
    LIMIT %(limit)s
), theirs AS MATERIALIZED (
    SELECT matches.id, matches.time FROM matches
    JOIN conversations ON conversations.id = matches.conversation_id
    WHERE {IS_LISTED} AND {BEFORE.format(time="matches.time", id="matches.id")}
    ORDER BY matches.time DESC, matches.id DESC
), own AS MATERIALIZED (
    SELECT id, time FROM theirs
    WHERE {EXACT} IS NULL OR (
        SELECT {has_phrase_sql("whole.content", EXACT, TYPED)} FROM messages AS whole WHERE whole.id = theirs.id
    )
    LIMIT %(limit)s
)
SELECT * FROM (
    SELECT own.id, own.time, {RANK.format(text="content")} AS rank FROM own JOIN messages ON messages.id = own.id
    UNION ALL
    SELECT titled.id, titled.time, {TITLE_RANK} FROM titled JOIN conversations ON conversations.id = titled.id
) AS found
ORDER BY time DESC, id DESC
LIMIT %(limit)s
"""  # noqa: S608

WALKED_SQL = """
SELECT id, coalesce(updated_at, 'epoch') AS time, {title_rank} AS rank FROM conversations
WHERE id = ANY (%(conversation_ids)s::uuid[]) AND {title_condition} AND {title_before}
UNION ALL
SELECT newest.id, coalesce(newest.created_at, 'epoch'), {rank}
FROM unnest(%(conversation_ids)s::uuid[]) AS walked (id)
CROSS JOIN LATERAL (
    SELECT id, created_at, {searched} AS searched FROM messages
    WHERE conversation_id = walked.id AND is_active AND status <> 'streaming'
    ORDER BY created_at DESC, id DESC
    LIMIT %(messages_each)s
) AS newest
WHERE {condition} AND {before}
"""
_HAS_ALL = f"{words_sql('{text}')} @@ {LOOSE} AND ({EXACT} IS NULL OR {has_phrase_sql('{text}', EXACT, TYPED)})"
_WALKED_BEFORE = {
    "title_before": TITLE_BEFORE,
    "before": BEFORE.format(time="coalesce(newest.created_at, 'epoch')", id="newest.id"),
}
WALKED_WORDS_SQL = WALKED_SQL.format(
    title_rank=TITLE_RANK,
    title_condition=_HAS_ALL.format(text="title"),
    rank=RANK.format(text="newest.searched"),
    searched="content",
    condition=_HAS_ALL.format(text="newest.searched"),
    **_WALKED_BEFORE,
)
WALKED_TEXT_SQL = WALKED_SQL.format(
    title_rank="1000",
    title_condition="title ILIKE %(pattern)s",
    rank="0",
    searched="left(content, 100000)",
    condition="newest.searched ILIKE %(pattern)s",
    **_WALKED_BEFORE,
)

# The text around the first match, as far as it is written like the query. `snippets` finds the matches in it.
AROUND = """
substr({text}, greatest(1, -1000 + coalesce((
    SELECT min(nullif(strpos(written, word), 0))
    FROM lower(left({text}, 100000)) AS written, unnest(%(wanted)s::text[]) AS asked (word)
), 0)), 4000)
"""
# If that takes too long.
BEGINNING = "left({text}, 2000)"
HITS_SQL = f"""
SELECT message_id, conversation_id, title, role, time, text
FROM (
    SELECT messages.id AS found, messages.id AS message_id, conversation_id, title, role,
        {MESSAGE_TIME_SQL} AS time, {{text}} AS text
    FROM messages JOIN conversations ON conversations.id = conversation_id
    WHERE messages.id = ANY (%(ids)s) AND user_id = %(user_id)s
    UNION ALL
    SELECT id, NULL, id, title, NULL, {ACTIVITY_TIME_SQL}, title
    FROM conversations WHERE id = ANY (%(ids)s) AND user_id = %(user_id)s
) AS hits
ORDER BY array_position(%(ids)s, found)
"""  # noqa: S608

Fetch = Callable[..., list[tuple[Any, ...]]]


def expected_matches(operands: Sequence[str], fetch: Fetch) -> list[float]:
    """Return how many messages PostgreSQL expects each of these operands in. One query, which reads no message."""
    union = " UNION ALL ".join([EXPECTED_SQL] * len(operands))
    plan = fetch(f"EXPLAIN (FORMAT JSON) {union}", list(operands))[0][0][0]["Plan"]
    return [part["Plan Rows"] for part in (plan["Plans"] if len(operands) > 1 else [plan])]


class TooSlow(Exception):
    """A statement took longer than its time limit."""


class Deadline:
    """When a search must end."""

    def __init__(self, limit_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._ends_at = clock() + limit_s

    def remaining_s(self) -> float:
        return self._ends_at - self._clock()


@contextmanager
def statements(deadline: Deadline, least_s: float = 0.0) -> Iterator[Fetch]:
    """Give a function that runs a statement and returns its rows.

    The statement's time limit is the rest of the deadline, but at least `least_s`. Raises `TooSlow`.
    """

    def fetch(sql: str, values: Any) -> list[tuple[Any, ...]]:
        limit_ms = max(1, round(1000 * max(least_s, deadline.remaining_s())))
        with connection.cursor() as cursor:
            cursor.execute(SETTINGS_SQL, [str(limit_ms)])
            cursor.execute(sql, values)
            rows: list[tuple[Any, ...]] = cursor.fetchall()
            return rows

    try:
        with transaction.atomic():
            yield fetch
    except OperationalError as failure:
        if isinstance(failure.__cause__, psycopg.errors.QueryCanceled):
            raise TooSlow from None
        raise
    finally:
        release_connections()
