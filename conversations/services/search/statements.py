"""The SQL of a search in a user's own messages, and the limits of each statement.

Each block of statements is a transaction and returns its connection at the end, so that other requests can use it between the
statements of a long search.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from django.db import OperationalError, connection, transaction

from chatapi.database.connections import release_connections
from conversations.expressions import MESSAGE_WORDS_SQL

# They surround a match in a snippet. Both are removed from the text first.
MATCH_START, MATCH_STOP = "\x02", "\x03"
# It replaces `<` while matches are marked. A private character, which is removed from the text first.
LESS_THAN = "\ue000"
HEADLINE = f'StartSel="{MATCH_START}", StopSel="{MATCH_STOP}", MaxFragments=2, MaxWords=25, MinWords=8, FragmentDelimiter=" … "'
MOST_PROBED_MATCHES = 2000

# The planner underestimates the cost of making a tsvector, and would make one of every message instead of using the index. For
# words that it does not know it expects many matches; starting workers and compiling would then take longer than the search.
SETTINGS_SQL = """
SELECT set_config('statement_timeout', %s, true), set_config('enable_seqscan', 'off', true),
    set_config('max_parallel_workers_per_gather', '0', true), set_config('jit', 'off', true)
"""

WORDS = "websearch_to_tsquery('simple'::regconfig, %(text)s)"

COUNT_WORDS_SQL = f"SELECT numnode({WORDS})"

# S608 below: only constants are put into these statements; what a caller sends is always a parameter.
EXPECTED_SQL = f"EXPLAIN (FORMAT JSON) SELECT 1 FROM messages WHERE {MESSAGE_WORDS_SQL} @@ {WORDS} AND status <> 'streaming'"  # noqa: S608

# Materialized: because of the outer limit, the planner would otherwise read messages one by one instead of using the index.
PROBE_SQL = f"""
WITH matches AS MATERIALIZED (SELECT 1 FROM messages WHERE {MESSAGE_WORDS_SQL} @@ {WORDS} AND status <> 'streaming')
SELECT count(*) FROM (SELECT 1 FROM matches LIMIT {MOST_PROBED_MATCHES + 1}) AS probed
"""  # noqa: S608
ROWS_SQL = "SELECT reltuples FROM pg_class WHERE oid = 'messages'::regclass"

# Messages without a time, which only the predecessor wrote, count as the oldest.
INDEXED_SQL = f"""
WITH matches AS MATERIALIZED (
    SELECT id, conversation_id, coalesce(created_at, 'epoch') AS time FROM messages
    WHERE {MESSAGE_WORDS_SQL} @@ {WORDS} AND status <> 'streaming' AND is_active
), own AS MATERIALIZED (
    SELECT matches.id, matches.time FROM matches
    JOIN conversations ON conversations.id = matches.conversation_id
    WHERE conversations.user_id = %(user_id)s AND conversations.expires_at IS NULL AND conversations.is_listed
      AND (%(time)s::timestamptz IS NULL OR (matches.time, matches.id) < (%(time)s::timestamptz, %(id)s::uuid))
    ORDER BY matches.time DESC, matches.id DESC
    LIMIT %(limit)s
)
SELECT own.id, own.time, ts_rank(to_tsvector('simple'::regconfig, left(content, 10000)), {WORDS}) AS rank
FROM own JOIN messages ON messages.id = own.id
ORDER BY own.time DESC, own.id DESC
"""  # noqa: S608

WALKED_SQL = """
SELECT newest.id, coalesce(newest.created_at, 'epoch') AS time, {rank} AS rank
FROM unnest(%(conversation_ids)s::uuid[]) AS walked (id)
CROSS JOIN LATERAL (
    SELECT id, created_at, {searched} AS searched FROM messages
    WHERE conversation_id = walked.id AND is_active AND status <> 'streaming'
    ORDER BY created_at DESC, id DESC
    LIMIT %(messages_each)s
) AS newest
WHERE {condition} AND (
    %(time)s::timestamptz IS NULL OR (coalesce(newest.created_at, 'epoch'), newest.id) < (%(time)s::timestamptz, %(id)s::uuid)
)
"""
WALKED_WORDS_SQL = WALKED_SQL.format(
    searched=MESSAGE_WORDS_SQL, condition=f"newest.searched @@ {WORDS}", rank=f"ts_rank(newest.searched, {WORDS})"
)
WALKED_TEXT_SQL = WALKED_SQL.format(searched="left(content, 100000)", condition="newest.searched ILIKE %(pattern)s", rank="0")

# The text around the first match.
TEXT_SNIPPET = """
substr(content, greatest(1, strpos(lower(left(content, 100000)), lower(%(text)s)) - 60), %(snippet_characters)s)
"""
# PostgreSQL takes `<` for the beginning of a tag and leaves the tag out, so another character replaces it meanwhile.
WITHOUT_TAGS = "translate(left(content, 20000), '<' || %(less_than)s || %(marks)s, %(less_than)s)"
WORDS_SNIPPET = f"translate(ts_headline('simple'::regconfig, {WITHOUT_TAGS}, {WORDS}, %(headline)s), %(less_than)s, '<')"
# If marking the matches takes too long.
BEGINNING_SNIPPET = "left(translate(left(content, 2000), %(marks)s, ''), %(snippet_characters)s)"
HITS_SQL = """
SELECT messages.id, conversation_id, title, role, coalesce(messages.created_at, 'epoch'), {snippet}
FROM messages JOIN conversations ON conversations.id = conversation_id
WHERE messages.id = ANY (%(ids)s) AND user_id = %(user_id)s
ORDER BY array_position(%(ids)s, messages.id)
"""

Fetch = Callable[..., list[tuple[Any, ...]]]


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
