"""Search a user's own messages, at a cost that does not grow with the tables.

The full-text index covers all users' messages. For a frequent word it would return very many rows, few of them the caller's. So
there are two ways, chosen by how many matches PostgreSQL expects from its statistics:

- *index*: look a rare word up in the index, and keep only the caller's messages;
- *walk*: read the caller's conversations, newest first, some at a time. A frequent word is found soon in this way. A text of
  nothing but punctuation is searched for as it is.

Both return *windows* of matching messages and titles, newest first. A title has the time of its conversation's last turn.
Within a window, titles and then the best matches come first. A cursor names a window and a place in it.

A search ends after `SEARCH_S`, with the matches so far and a cursor. Every request makes progress: if its first window takes
too long, the cursor names a smaller window, and a single conversation that takes too long is skipped. A user can run one search
at a time per process, so that one user's searches can't take all its connections.
"""

import math
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from chatapi.database.connections import release_connections
from chatapi.permits.limit import Limit
from chatapi.permits.permit import Permits
from chatapi.permits.shares import at_most
from conversations.exceptions import BadCursor, SearchInProgress, SearchTooBroad
from conversations.keyset import SortKey, after_key, decode_cursor, encode_cursor
from conversations.models import Conversation
from conversations.services.search.snippets import make_snippet
from conversations.services.search.statements import (
    AROUND,
    BEGINNING,
    HITS_SQL,
    INDEXED_SQL,
    MOST_PROBED_MATCHES,
    PROBE_SQL,
    ROWS_SQL,
    WALKED_TEXT_SQL,
    WALKED_WORDS_SQL,
    Deadline,
    Fetch,
    TooSlow,
    expected_matches,
    statements,
)
from conversations.services.search.words import Words, read_words

# The time limit of a search. The first window and the snippets have at least their own time, even if the steps before took
# long. A later window begins only if at least LATER_WINDOW_S are left.
SEARCH_S = 1.5
FIRST_WINDOW_S = 0.5
LATER_WINDOW_S = 0.1
SNIPPETS_S = 0.5
# How long a search waits for the same user's previous one.
WAIT_S = 2.0
RETRY_AFTER_S = 2

# With more expected matches than this, walk.
MOST_INDEXED_MATCHES = 20_000
# For a word or beginning that is missing from its statistics, PostgreSQL assumes that up to this fraction of the table matches.
# The search then counts matches in the index. This is cheap for one term only: of two, each may be in every message.
UNKNOWN_WORD_SHARE = 0.02
# How many words of a query are looked up in the statistics: 0.2 ms for each.
MOST_ESTIMATED = 12
# Matches of an indexed window.
WINDOW_MATCHES = 100
# The sizes of walked windows: conversations, and the newest messages of each. Searching for words needs smaller windows,
# because making tsvectors costs more than searching for text. After a window that takes too long comes the next smaller size.
WINDOWS_WORDS = ((10, 200), (1, 200), (1, 20))
WINDOWS_TEXT = ((100, 200), (1, 200), (1, 20))
SINGLE, SMALLEST = 1, 2
# The most conversations without a match that one request walks through.
MOST_EMPTY_CONVERSATIONS = 500

CURSOR_FORM = re.compile(r"([iw])(\d{1,5})(?:s([12]))?\.([A-Za-z0-9_=-]*)(?:\.([A-Za-z0-9_=-]+))?", re.ASCII)

LIMIT = Limit(what="running searches: one", per="user, in each worker", refusal=SearchInProgress, retry_after_s=RETRY_AFTER_S)
searches = Permits(LIMIT, at_most(1))


@dataclass(frozen=True, slots=True)
class Hit:
    """A matching message or title. In `snippet`, MATCH_START and MATCH_STOP surround each match.

    A title has no message and no role. Its `created_at` is the time of the conversation's last turn.
    """

    message_id: UUID | None
    conversation_id: UUID
    conversation_title: str | None
    role: str | None
    created_at: datetime
    snippet: str

    @property
    def found_in(self) -> str:
        return "title" if self.message_id is None else "message"


@dataclass(frozen=True, slots=True)
class Hits:
    hits: list[Hit]
    next: str | None


@dataclass(frozen=True, slots=True)
class _Search:
    user_id: UUID
    text: str
    # None: the text has no word.
    words: Words | None

    @property
    def values(self) -> dict[str, Any]:
        """What the statements need of the query."""
        if self.words is None:
            return {"wanted": [self.text.lower()]}
        return {
            "loose": self.words.loose,
            "exact": self.words.exact,
            "typed": self.words.typed,
            "wanted": list(self.words.wanted),
        }


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a page begins: the way ("i" index, "w" walk), the key before the window, and how many of its matches were returned.

    The step of a walk is the position of its window's size in `WINDOWS_…`. If a walk continues a search in the index that was
    too slow, it finds only messages before the key `before`.
    """

    way: str
    key: SortKey | None = None
    offset: int = 0
    step: int = 0
    before: SortKey | None = None


@dataclass(frozen=True, slots=True)
class _Window:
    """Ids of matches, best first, and the key before the next window, or None if this is the last one."""

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
    """Find a user's messages and titles with these words ("…" is a phrase, - means without, or), or this text without words.

    A page with fewer hits than `limit`, or with none, may still have a cursor for more.
    Raises `BadCursor`, `SearchInProgress`, `SearchTooBroad`.
    """
    wanted = None if cursor is None else _decode_place(cursor)
    # Waiting must not hold the request's connection.
    release_connections()
    try:
        with searches.acquire(user_id, wait_s=WAIT_S):
            return _search(user_id, text, limit, wanted, Deadline(SEARCH_S, clock))
    except TooSlow:
        # Not even the smallest window was read in time.
        raise SearchTooBroad(retry_after_s=RETRY_AFTER_S) from None


def _search(user_id: UUID, text: str, limit: int, place: _Place | None, deadline: Deadline) -> Hits:
    with statements(deadline) as fetch:
        words = _without_frequent_letter(read_words(text, fetch), fetch)
    search = _Search(user_id, text, words)
    if place is None:
        place = _Place("i" if words and _is_rare(words, deadline) else "w")
    elif place.way == "i" and words is None:
        raise BadCursor
    ids, following = _read_ids(search, limit, place, deadline)
    hits = _read_hits(search, ids, deadline)
    return Hits(hits=hits, next=None if following is None else _encode_place(following))


def _read_ids(search: _Search, limit: int, place: _Place, deadline: Deadline) -> tuple[list[UUID], _Place | None]:
    """Return a page of matches and where the next page begins. A walk skips empty windows, up to a limit."""
    passed, is_first = 0, True
    while passed < MOST_EMPTY_CONVERSATIONS and (is_first or deadline.remaining_s() > LATER_WINDOW_S):
        try:
            window = _read_window(search, place, deadline, is_first=is_first)
        except TooSlow:
            # A later window had only the remaining time, so the next request begins with it.
            return [], _after_too_slow(place) if is_first else place
        ids = window.ids[place.offset : place.offset + limit]
        if place.offset + limit < len(window.ids):
            return ids, replace(place, offset=place.offset + limit)
        if window.next_key is None:
            return ids, None
        passed += _window_size(search, place)[0]
        # The smallest size applies to this one conversation only.
        place = replace(place, key=window.next_key, offset=0, step=min(place.step, SINGLE))
        if ids:
            return ids, place
        is_first = False
    return [], place


def _after_too_slow(place: _Place) -> _Place:
    """Return where to continue after the first window took too long. The client may then get some matches twice.

    Raises `TooSlow` if there is no smaller window.
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
    values = {"user_id": search.user_id, "limit": WINDOW_MATCHES + 1, **search.values, **_before(place.key)}
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
                **search.values,
                "pattern": "%" + re.sub(r"([%_\\])", r"\\\1", search.text) + "%",
                **_before(place.before),
            }
            rows = fetch(WALKED_WORDS_SQL if search.words else WALKED_TEXT_SQL, values) if walked else []
    except TooSlow:
        if walked:
            raise _ConversationTooSlow(_following(walked, size)) from None
        raise
    return _Window(_best_first(rows), _following(walked, size))


class _ConversationTooSlow(TooSlow):
    """Searching these conversations took too long. `next_key` is the key of the last one, or None if no more follow."""

    def __init__(self, next_key: SortKey | None) -> None:
        self.next_key = next_key


def _following(walked: Sequence[tuple[Any, ...]], size: int) -> SortKey | None:
    return SortKey(time=walked[size - 1][1], id=walked[size - 1][0]) if len(walked) > size else None


def _before(key: SortKey | None) -> dict[str, Any]:
    return {"time": None if key is None else key.time, "id": None if key is None else key.id}


def _window_size(search: _Search, place: _Place) -> tuple[int, int]:
    """Return how many conversations a walked window has, and how many messages of each are read."""
    return (WINDOWS_WORDS if search.words else WINDOWS_TEXT)[place.step]


def _best_first(rows: Sequence[tuple[Any, ...]]) -> list[UUID]:
    """Order matches (id, time, rank) by rank, and equals by time, newest first."""
    return [row[0] for row in sorted(rows, key=lambda row: (row[2], row[1], row[0]), reverse=True)]


def _without_frequent_letter(words: Words | None, fetch: Fetch) -> Words | None:
    """Leave out a last word of one letter if it begins words in many messages. The caller's own rows are checked for it."""
    if words is None or words.letter is None:
        return words
    [expected] = expected_matches([words.letter], fetch)
    return words.without_letter if expected > 2 * UNKNOWN_WORD_SHARE * fetch(ROWS_SQL, {})[0][0] else words


def _is_rare(words: Words, deadline: Deadline) -> bool:
    try:
        with statements(deadline) as fetch:
            expected = _expect(words, fetch)
            if expected <= MOST_INDEXED_MATCHES:
                return True
            # Twice the fraction, because the table may have grown since ANALYZE.
            if not words.is_one_term or expected > 2 * UNKNOWN_WORD_SHARE * fetch(ROWS_SQL, {})[0][0]:
                return False
            return bool(fetch(PROBE_SQL, {"loose": words.loose})[0][0] <= MOST_PROBED_MATCHES)
    except TooSlow:
        return False


def _expect(words: Words, fetch: Fetch) -> float:
    """Return how many messages are expected to match.

    PostgreSQL assumes that all operands are independent. Words of different terms may be. But those of a phrase come together,
    and so do the pairs of characters of a Chinese word: for them, the rarest counts.
    """
    operands = list(dict.fromkeys(one for terms in words.lookups for term in terms for one in term))[:MOST_ESTIMATED]
    if not operands:
        # Unwanted words only.
        return math.inf
    expected = dict(zip(operands, expected_matches(operands, fetch), strict=True))
    if words.is_one_term:
        return min(expected.values())
    rows = max(1.0, fetch(ROWS_SQL, {})[0][0])

    def share(term: tuple[str, ...]) -> float:
        return min((expected[one] / rows for one in term if one in expected), default=1.0)

    return float(sum(rows * math.prod(map(share, terms)) for terms in words.lookups))


def _read_hits(search: _Search, ids: list[UUID], deadline: Deadline) -> list[Hit]:
    if not ids:
        return []
    values = {"ids": ids, "user_id": search.user_id, "wanted": search.values["wanted"]}
    try:
        with statements(deadline, SNIPPETS_S) as fetch:
            rows = fetch(HITS_SQL.format(text=AROUND.format(text="content")), values)
    except TooSlow:
        with statements(deadline, SNIPPETS_S) as fetch:
            rows = fetch(HITS_SQL.format(text=BEGINNING.format(text="content")), values)
    ends_open = search.words is not None and search.words.ends_open
    return [
        Hit(
            message_id=message_id,
            conversation_id=conversation_id,
            conversation_title=title,
            role=role,
            created_at=created_at,
            snippet=make_snippet(text, values["wanted"], ends_open=ends_open),
        )
        for message_id, conversation_id, title, role, created_at, text in rows
    ]


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
