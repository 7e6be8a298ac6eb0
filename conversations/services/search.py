"""Searching one's own messages, at a cost that does not grow with the tables.

The full-text index covers everyone's messages, so a word that half the world uses would be read half a world long before
the caller's few are left over. Therefore the way depends on how many messages PostgreSQL's statistics expect to match:

- a rare word is looked up in the index, and what is found is reduced to the caller's;
- a frequent one is looked for in the caller's conversations, newest first, so many of them at a time. Frequent words are
  found soon on this way. So is text without spaces between words, which no word index knows: it is looked for as it is.

Both give *windows* of matches, newest first. Within a window the best come first; a cursor names a window and a place in it.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg
from django.db import OperationalError, connection, transaction

from conversations.exceptions import BadCursor, SearchTooBroad
from conversations.keyset import SortKey, after_key, decode_cursor, encode_cursor
from conversations.models import Conversation

# More expected matches than this are not read from the index.
MOST_INDEXED_MATCHES = 20_000
# Of a word that its statistics don't know PostgreSQL expects up to this share of the table. It may be as frequent as that, or
# stand nowhere: counting so many in the index tells. That costs little for one word; for two, each may be in every message.
UNKNOWN_WORD_SHARE = 0.005
MOST_PROBED_MATCHES = 2000
# Matches of an indexed window.
WINDOW_MATCHES = 100
# Of a walked window: how many conversations (making tsvectors costs more than looking for text), and the newest messages
# read of each. One request passes over so many conversations without a match.
WINDOW_CONVERSATIONS_WORDS = 10
WINDOW_CONVERSATIONS_TEXT = 100
MESSAGES_EACH = 200
MOST_EMPTY_CONVERSATIONS = 500
STATEMENT_TIMEOUT_MS = 3000

# They surround a match in a snippet. Both are removed from the text, so they can't be anything else.
MATCH_START, MATCH_STOP = "\x02", "\x03"
SNIPPET_CHARACTERS = 200
HEADLINE = f'StartSel="{MATCH_START}", StopSel="{MATCH_STOP}", MaxFragments=2, MaxWords=25, MinWords=8, FragmentDelimiter=" … "'

# Chinese, Japanese, Thai, Lao, Burmese, Khmer: written without spaces between words.
UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
CURSOR_FORM = re.compile(r"([iw])(\d{1,5})\.([A-Za-z0-9_=-]*)", re.ASCII)

# The planner takes making a tsvector for nearly free, and would rather make one of every message than ask an index. Of words it
# does not know it expects so many matches that it would start workers and compile, which takes longer than to find none.
SETTINGS_SQL = """
SELECT set_config('statement_timeout', %s, true), set_config('enable_seqscan', 'off', true),
    set_config('max_parallel_workers_per_gather', '0', true), set_config('jit', 'off', true)
"""

# To the letter as in migration 0004.
VECTOR = "to_tsvector('simple'::regconfig, left(content, 100000))"
WORDS = "websearch_to_tsquery('simple'::regconfig, %(text)s)"

# S608 below: these are put together from the constants above; what a caller says is always a parameter.
EXPECTED_SQL = f"EXPLAIN (FORMAT JSON) SELECT 1 FROM messages WHERE {VECTOR} @@ {WORDS} AND status <> 'streaming'"  # noqa: S608

# Materialized: the limit outside must not tempt the planner to read messages until it has found so many.
PROBE_SQL = f"""
WITH matches AS MATERIALIZED (SELECT 1 FROM messages WHERE {VECTOR} @@ {WORDS} AND status <> 'streaming')
SELECT count(*) FROM (SELECT 1 FROM matches LIMIT {MOST_PROBED_MATCHES + 1}) AS probed
"""  # noqa: S608
ROWS_SQL = "SELECT reltuples FROM pg_class WHERE oid = 'messages'::regclass"

# Times that only the predecessor left out count as the oldest.
INDEXED_SQL = f"""
WITH matches AS MATERIALIZED (
    SELECT id, conversation_id, coalesce(created_at, 'epoch') AS time FROM messages
    WHERE {VECTOR} @@ {WORDS} AND status <> 'streaming' AND is_active
), own AS MATERIALIZED (
    SELECT matches.id, matches.time FROM matches
    JOIN conversations ON conversations.id = matches.conversation_id
    WHERE conversations.user_id = %(user_id)s AND conversations.expires_at IS NULL
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
WHERE {condition}
"""
WALKED_WORDS_SQL = WALKED_SQL.format(
    searched=VECTOR, condition=f"newest.searched @@ {WORDS}", rank=f"ts_rank(newest.searched, {WORDS})"
)
WALKED_TEXT_SQL = WALKED_SQL.format(searched="left(content, 100000)", condition="newest.searched ILIKE %(pattern)s", rank="0")

# The text around the first place where it stands.
TEXT_SNIPPET = """
substr(content, greatest(1, strpos(lower(left(content, 100000)), lower(%(text)s)) - 60), %(snippet_characters)s)
"""
WORDS_SNIPPET = f"ts_headline('simple'::regconfig, translate(left(content, 20000), %(marks)s, ''), {WORDS}, %(headline)s)"
HITS_SQL = """
SELECT messages.id, conversation_id, title, role, coalesce(messages.created_at, 'epoch'), {snippet}
FROM messages JOIN conversations ON conversations.id = conversation_id
WHERE messages.id = ANY (%(ids)s) AND user_id = %(user_id)s
ORDER BY array_position(%(ids)s, messages.id)
"""


@dataclass(frozen=True, slots=True)
class Hit:
    """A message that was found. In `snippet` MATCH_START and MATCH_STOP surround what matched."""

    message_id: UUID
    conversation_id: UUID
    conversation_title: str | None
    role: str
    created_at: datetime
    snippet: str


@dataclass(frozen=True, slots=True)
class Hits:
    hits: list[Hit]
    next: str | None


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a page begins: the way ("i" index, "w" walk), the key before the window, and how much of it was read."""

    way: str
    key: SortKey | None
    offset: int


@dataclass(frozen=True, slots=True)
class _Window:
    """Ids of matches, best first, and the key that the next window begins behind; None: there is none."""

    ids: list[UUID]
    next_key: SortKey | None


def search_messages(*, user_id: UUID, text: str, limit: int, cursor: str | None = None) -> Hits:
    """Find a user's messages with these words ("…" a phrase, - without, or), or, where words have no spaces, this text.

    Raises `BadCursor`, `SearchTooBroad`.
    """
    with _bounded():
        words = 0 if UNSPACED.search(text) else _count_words(text)
        is_words = words > 0
        place = _decode_place(cursor) if cursor is not None else _first_place(text, words)
    try:
        with _bounded():
            ids, following = _read_ids(user_id, text, limit, place, is_words)
    except SearchTooBroad:
        # The statistics were wrong about how rare the words are.
        if place.way != "i" or cursor is not None:
            raise
        with _bounded():
            ids, following = _read_ids(user_id, text, limit, _Place("w", None, 0), is_words)
    with _bounded():
        hits = _read_hits(user_id, text, ids, is_words)
    return Hits(hits=hits, next=None if following is None else _encode_place(following))


def _first_place(text: str, words: int) -> _Place:
    return _Place("i" if words and _is_rare(text, words) else "w", None, 0)


def _read_ids(user_id: UUID, text: str, limit: int, place: _Place, is_words: bool) -> tuple[list[UUID], _Place | None]:
    """Return a page of matches and where the next begins; in a walk, empty windows are passed over, but not for ever."""
    for _ in range(MOST_EMPTY_CONVERSATIONS // _window_size(is_words)):
        if place.way == "i":
            window = _indexed_window(user_id, text, place.key)
        else:
            window = _walked_window(user_id, text, place.key, is_words)
        ids = window.ids[place.offset : place.offset + limit]
        if place.offset + limit < len(window.ids):
            return ids, _Place(place.way, place.key, place.offset + limit)
        if window.next_key is None:
            return ids, None
        place = _Place(place.way, window.next_key, 0)
        if ids:
            break
    return ids, place


def _indexed_window(user_id: UUID, text: str, key: SortKey | None) -> _Window:
    values = {"user_id": user_id, "text": text, "limit": WINDOW_MATCHES + 1, "time": key and key.time, "id": key and key.id}
    rows = _fetch(INDEXED_SQL, values)
    window = rows[:WINDOW_MATCHES]
    following = SortKey(time=window[-1][1], id=window[-1][0]) if len(rows) > WINDOW_MATCHES else None
    return _Window(_best_first(window), following)


def _walked_window(user_id: UUID, text: str, key: SortKey | None, is_words: bool) -> _Window:
    conversations = Conversation.objects.owned_by(user_id).listed().newest_activity_first()
    if key is not None:
        conversations = conversations.filter(after_key(key, "updated_at", descending=True))
    size = _window_size(is_words)
    walked = list(conversations.values_list("id", "updated_at")[: size + 1])
    window = walked[:size]
    values = {
        "conversation_ids": [conversation_id for conversation_id, _ in window],
        "messages_each": MESSAGES_EACH,
        "text": text,
        "pattern": "%" + re.sub(r"([%_\\])", r"\\\1", text) + "%",
    }
    rows = _fetch(WALKED_WORDS_SQL if is_words else WALKED_TEXT_SQL, values) if window else []
    following = SortKey(time=window[-1][1], id=window[-1][0]) if len(walked) > size else None
    return _Window(_best_first(rows), following)


def _window_size(is_words: bool) -> int:
    return WINDOW_CONVERSATIONS_WORDS if is_words else WINDOW_CONVERSATIONS_TEXT


def _best_first(rows: Sequence[tuple[Any, ...]]) -> list[UUID]:
    """Order matches (id, time, rank) by rank, and equals by time, newest first."""
    return [row[0] for row in sorted(rows, key=lambda row: (row[2], row[1], row[0]), reverse=True)]


def _count_words(text: str) -> int:
    """Count the words and what stands between them: 0, 1, or more."""
    return int(_fetch(f"SELECT numnode({WORDS})", {"text": text})[0][0])


def _is_rare(text: str, words: int) -> bool:
    plan = _fetch(EXPECTED_SQL, {"text": text})[0][0]
    expected = plan[0]["Plan"]["Plan Rows"]
    if expected <= MOST_INDEXED_MATCHES:
        return True
    # Twice as many: the table has grown since its rows were counted.
    if words > 1 or expected > 2 * UNKNOWN_WORD_SHARE * _fetch(ROWS_SQL, {})[0][0]:
        return False
    return bool(_fetch(PROBE_SQL, {"text": text})[0][0] <= MOST_PROBED_MATCHES)


def _read_hits(user_id: UUID, text: str, ids: list[UUID], is_words: bool) -> list[Hit]:
    if not ids:
        return []
    values = {
        "ids": ids,
        "user_id": user_id,
        "text": text,
        "marks": MATCH_START + MATCH_STOP,
        "headline": HEADLINE,
        "snippet_characters": SNIPPET_CHARACTERS,
    }
    rows = _fetch(HITS_SQL.format(snippet=WORDS_SNIPPET if is_words else TEXT_SNIPPET), values)
    return [
        Hit(
            message_id=message_id,
            conversation_id=conversation_id,
            conversation_title=title,
            role=role,
            created_at=created_at,
            snippet=snippet if is_words else _mark_text(snippet, text),
        )
        for message_id, conversation_id, title, role, created_at, snippet in rows
    ]


def _mark_text(snippet: str, text: str) -> str:
    clean = snippet.replace(MATCH_START, "").replace(MATCH_STOP, "")
    return re.sub(re.escape(text), lambda match: f"{MATCH_START}{match[0]}{MATCH_STOP}", clean, flags=re.IGNORECASE)


def _fetch(sql: str, values: dict[str, Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows


@contextmanager
def _bounded() -> Iterator[None]:
    """Let each statement take so long and no longer. Raises `SearchTooBroad`."""
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(SETTINGS_SQL, [str(STATEMENT_TIMEOUT_MS)])
            yield
    except OperationalError as failure:
        if isinstance(failure.__cause__, psycopg.errors.QueryCanceled):
            raise SearchTooBroad from None
        raise


def _encode_place(place: _Place) -> str:
    return f"{place.way}{place.offset}.{'' if place.key is None else encode_cursor('s', place.key)}"


def _decode_place(cursor: str) -> _Place:
    match = CURSOR_FORM.fullmatch(cursor)
    if match is None:
        raise BadCursor
    key = decode_cursor(match[3], "s") if match[3] else None
    if key is not None and key.time is None and match[1] == "i":
        raise BadCursor
    return _Place(way=match[1], key=key, offset=int(match[2]))
