"""Searching one's own messages, at a cost that does not grow with the tables.

The full-text index covers everyone's messages, so a word that half the world uses would be read half a world long before
the caller's few are left over. Therefore the way depends on how many messages PostgreSQL's statistics expect to match:

- a rare word is looked up in the index, and what is found is reduced to the caller's;
- a frequent one is looked for in the caller's conversations, newest first, so many of them at a time. Frequent words are
  found soon on this way. So is text without spaces between words, which no word index knows: it is looked for as it is.

Both give *windows* of matches, newest first. Within a window the best come first; a cursor names a window and a place in it.

A search ends after `SEARCH_S`, with what it has found and a cursor. Each request gets further: where its first window takes
too long, the cursor asks for a smaller one, and a conversation that even alone takes too long is passed over. A user has one
search at a time in a process, so that one user's searches can't take all its connections.
"""

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg
from django.db import InternalError

from chatapi.database import release_connections
from conversations.exceptions import BadCursor, SearchInProgress, SearchTooBroad
from conversations.keyset import SortKey, after_key, decode_cursor, encode_cursor
from conversations.models import Conversation
from conversations.services.one_at_a_time import Busy, OneAtATime
from conversations.services.search_statements import (
    BEGINNING_SNIPPET,
    COUNT_WORDS_SQL,
    EXPECTED_SQL,
    HEADLINE,
    HITS_SQL,
    INDEXED_SQL,
    MATCH_START,
    MATCH_STOP,
    MOST_PROBED_MATCHES,
    PROBE_SQL,
    ROWS_SQL,
    TEXT_SNIPPET,
    WALKED_TEXT_SQL,
    WALKED_WORDS_SQL,
    WORDS_SNIPPET,
    Deadline,
    TooSlow,
    statements,
)

# For choosing a way and for all windows. The first window gets a fair share where choosing took long, and the snippets of
# what was found where the windows did; a later window is not begun with less than is left for it.
SEARCH_S = 1.5
FIRST_WINDOW_S = 0.5
LATER_WINDOW_S = 0.1
SNIPPETS_S = 0.5
# How long a search waits for the same user's last one.
WAIT_S = 2.0
RETRY_AFTER_S = 2

# More expected matches than this are not read from the index.
MOST_INDEXED_MATCHES = 20_000
# Of a word that its statistics don't know PostgreSQL expects up to this share of the table. It may be as frequent as that, or
# stand nowhere: counting so many in the index tells. That costs little for one word; for two, each may be in every message.
UNKNOWN_WORD_SHARE = 0.005
# Matches of an indexed window.
WINDOW_MATCHES = 100
# Of a walked window: how many conversations (making tsvectors costs more than looking for text), and the newest messages
# read of each. The smaller ones are for those that take too long. One request passes over so many conversations without a
# match.
WINDOWS_WORDS = ((10, 200), (1, 200), (1, 20))
WINDOWS_TEXT = ((100, 200), (1, 200), (1, 20))
SINGLE, SMALLEST = 1, 2
MOST_EMPTY_CONVERSATIONS = 500

SNIPPET_CHARACTERS = 200

# Chinese, Japanese, Thai, Lao, Burmese, Khmer: written without spaces between words.
UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
CURSOR_FORM = re.compile(r"([iw])(\d{1,5})(?:s([12]))?\.([A-Za-z0-9_=-]*)(?:\.([A-Za-z0-9_=-]+))?", re.ASCII)

_searching = OneAtATime()


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
class _Search:
    user_id: UUID
    text: str
    is_words: bool


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a page begins: the way ("i" index, "w" walk), the key before the window, and how much of it was read.

    A walk has a step, the place of its window's size in `WINDOWS_…`. Where it goes on for an index that was too slow, it finds
    messages before a key only.
    """

    way: str
    key: SortKey | None = None
    offset: int = 0
    step: int = 0
    before: SortKey | None = None


@dataclass(frozen=True, slots=True)
class _Window:
    """Ids of matches, best first, and the key that the next window begins behind; None: there is none."""

    ids: list[UUID]
    next_key: SortKey | None


def search_messages(
    *,
    user_id: UUID,
    text: str,
    limit: int,
    cursor: str | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Hits:
    """Find a user's messages with these words ("…" a phrase, - without, or), or, where words have no spaces, this text.

    A page may have fewer hits than `limit`, or none, and a cursor to go on with.
    Raises `BadCursor`, `SearchInProgress`, `SearchTooBroad`.
    """
    wanted = None if cursor is None else _decode_place(cursor)
    # Of the request so far: waiting must not hold it.
    release_connections()
    try:
        with _searching.hold(user_id, WAIT_S):
            return _search(user_id, text, limit, wanted, Deadline(SEARCH_S, clock))
    except Busy:
        raise SearchInProgress(retry_after_s=RETRY_AFTER_S) from None
    except TooSlow:
        # Not even the smallest question was answered in time.
        raise SearchTooBroad(retry_after_s=RETRY_AFTER_S) from None


def _search(user_id: UUID, text: str, limit: int, place: _Place | None, deadline: Deadline) -> Hits:
    words = 0 if UNSPACED.search(text) else _count_words(text, deadline)
    search = _Search(user_id, text, words > 0)
    if place is None:
        place = _Place("i" if words and _is_rare(text, words, deadline) else "w")
    elif place.way == "i" and not words:
        raise BadCursor
    ids, following = _read_ids(search, limit, place, deadline)
    hits = _read_hits(search, ids, deadline)
    return Hits(hits=hits, next=None if following is None else _encode_place(following))


def _read_ids(search: _Search, limit: int, place: _Place, deadline: Deadline) -> tuple[list[UUID], _Place | None]:
    """Return a page of matches and where the next begins; in a walk, empty windows are passed over, but not for ever."""
    passed, is_first = 0, True
    while passed < MOST_EMPTY_CONVERSATIONS and (is_first or deadline.remaining_s() > LATER_WINDOW_S):
        try:
            window = _read_window(search, place, deadline, is_first=is_first)
        except TooSlow:
            # A later window had only the rest of the time: the next request begins with it.
            return [], _after_too_slow(place) if is_first else place
        ids = window.ids[place.offset : place.offset + limit]
        if place.offset + limit < len(window.ids):
            return ids, replace(place, offset=place.offset + limit)
        if window.next_key is None:
            return ids, None
        passed += _window_size(search, place)[0]
        # The smallest window is for one conversation alone.
        place = replace(place, key=window.next_key, offset=0, step=min(place.step, SINGLE))
        if ids:
            return ids, place
        is_first = False
    return [], place


def _after_too_slow(place: _Place) -> _Place:
    """Return where to go on when the first window took all the time of a request; matches may come twice then.

    Raises `TooSlow` where there is nothing smaller to ask.
    """
    if place.way == "i":
        # The statistics were wrong about how rare the words are.
        return _Place("w", before=place.key)
    if place.step == SMALLEST:
        raise TooSlow
    return replace(place, offset=0, step=place.step + 1)


def _read_window(search: _Search, place: _Place, deadline: Deadline, *, is_first: bool) -> _Window:
    """Raises `TooSlow`."""
    least_s = FIRST_WINDOW_S if is_first else 0.0
    if place.way == "i":
        return _indexed_window(search, place, deadline, least_s)
    try:
        return _walked_window(search, place, deadline, least_s)
    except _ConversationTooSlow as slow:
        if not is_first or place.step < SMALLEST:
            raise
        return _Window([], slow.next_key)


def _indexed_window(search: _Search, place: _Place, deadline: Deadline, least_s: float) -> _Window:
    values = {"user_id": search.user_id, "text": search.text, "limit": WINDOW_MATCHES + 1, **_before(place.key)}
    with statements(deadline, least_s) as fetch:
        rows = fetch(INDEXED_SQL, values)
    window = rows[:WINDOW_MATCHES]
    following = SortKey(time=window[-1][1], id=window[-1][0]) if len(rows) > WINDOW_MATCHES else None
    return _Window(_best_first(window), following)


def _walked_window(search: _Search, place: _Place, deadline: Deadline, least_s: float) -> _Window:
    size, messages_each = _window_size(search, place)
    conversations = Conversation.objects.owned_by(search.user_id).listed().newest_activity_first()
    if place.key is not None:
        conversations = conversations.filter(after_key(place.key, "updated_at", descending=True))
    listed = conversations.values_list("id", "updated_at")[: size + 1].query.sql_with_params()
    walked: list[tuple[Any, ...]] = []
    try:
        with statements(deadline, least_s) as fetch:
            walked = fetch(*listed)
            values = {
                "conversation_ids": [conversation_id for conversation_id, _ in walked[:size]],
                "messages_each": messages_each,
                "text": search.text,
                "pattern": "%" + re.sub(r"([%_\\])", r"\\\1", search.text) + "%",
                **_before(place.before),
            }
            rows = fetch(WALKED_WORDS_SQL if search.is_words else WALKED_TEXT_SQL, values) if walked else []
    except TooSlow:
        if walked:
            raise _ConversationTooSlow(_following(walked, size)) from None
        raise
    return _Window(_best_first(rows), _following(walked, size))


class _ConversationTooSlow(TooSlow):
    """Looking through conversations took too long; `next_key` is the last one's, None where there are no more."""

    def __init__(self, next_key: SortKey | None) -> None:
        self.next_key = next_key


def _following(walked: Sequence[tuple[Any, ...]], size: int) -> SortKey | None:
    return SortKey(time=walked[size - 1][1], id=walked[size - 1][0]) if len(walked) > size else None


def _before(key: SortKey | None) -> dict[str, Any]:
    return {"time": None if key is None else key.time, "id": None if key is None else key.id}


def _window_size(search: _Search, place: _Place) -> tuple[int, int]:
    """Return how many conversations a walked window has, and how many messages of each are read."""
    return (WINDOWS_WORDS if search.is_words else WINDOWS_TEXT)[place.step]


def _best_first(rows: Sequence[tuple[Any, ...]]) -> list[UUID]:
    """Order matches (id, time, rank) by rank, and equals by time, newest first."""
    return [row[0] for row in sorted(rows, key=lambda row: (row[2], row[1], row[0]), reverse=True)]


def _count_words(text: str, deadline: Deadline) -> int:
    """Count the words and what stands between them: 0, 1, or more; 0 also for what PostgreSQL can't read as words."""
    try:
        with statements(deadline) as fetch:
            return int(fetch(COUNT_WORDS_SQL, {"text": text})[0][0])
    except InternalError as failure:
        # 33 dashes before a word: each negates the next, and they are too many for it.
        if isinstance(failure.__cause__, psycopg.errors.InternalError_):
            return 0
        raise


def _is_rare(text: str, words: int, deadline: Deadline) -> bool:
    try:
        with statements(deadline) as fetch:
            plan = fetch(EXPECTED_SQL, {"text": text})[0][0]
            expected = plan[0]["Plan"]["Plan Rows"]
            if expected <= MOST_INDEXED_MATCHES:
                return True
            # Twice as many: the table has grown since its rows were counted.
            if words > 1 or expected > 2 * UNKNOWN_WORD_SHARE * fetch(ROWS_SQL, {})[0][0]:
                return False
            return bool(fetch(PROBE_SQL, {"text": text})[0][0] <= MOST_PROBED_MATCHES)
    except TooSlow:
        return False


def _read_hits(search: _Search, ids: list[UUID], deadline: Deadline) -> list[Hit]:
    if not ids:
        return []
    values = {
        "ids": ids,
        "user_id": search.user_id,
        "text": search.text,
        "marks": MATCH_START + MATCH_STOP,
        "headline": HEADLINE,
        "snippet_characters": SNIPPET_CHARACTERS,
    }
    try:
        with statements(deadline, SNIPPETS_S) as fetch:
            rows = fetch(HITS_SQL.format(snippet=WORDS_SNIPPET if search.is_words else TEXT_SNIPPET), values)
    except TooSlow:
        with statements(deadline, SNIPPETS_S) as fetch:
            rows = fetch(HITS_SQL.format(snippet=BEGINNING_SNIPPET), values)
    return [
        Hit(
            message_id=message_id,
            conversation_id=conversation_id,
            conversation_title=title,
            role=role,
            created_at=created_at,
            snippet=snippet if search.is_words else _mark_text(snippet, search.text),
        )
        for message_id, conversation_id, title, role, created_at, snippet in rows
    ]


def _mark_text(snippet: str, text: str) -> str:
    clean = snippet.replace(MATCH_START, "").replace(MATCH_STOP, "")
    return re.sub(re.escape(text), lambda match: f"{MATCH_START}{match[0]}{MATCH_STOP}", clean, flags=re.IGNORECASE)


def _encode_place(place: _Place) -> str:
    keys = ["" if place.key is None else encode_cursor("s", place.key)]
    if place.before is not None:
        keys.append(encode_cursor("s", place.before))
    return ".".join([f"{place.way}{place.offset}{f's{place.step}' if place.step else ''}", *keys])


def _decode_place(cursor: str) -> _Place:
    match = CURSOR_FORM.fullmatch(cursor)
    if match is None:
        raise BadCursor
    way, offset, step = match[1], int(match[2]), int(match[3] or 0)
    key = decode_cursor(match[4], "s") if match[4] else None
    before = decode_cursor(match[5], "s") if match[5] else None
    is_indexed = way == "i"
    if is_indexed and (step or before or (key is not None and key.time is None)):
        raise BadCursor
    if before is not None and before.time is None:
        raise BadCursor
    return _Place(way=way, key=key, offset=offset, step=step, before=before)
