"""Which way a search goes for a word that the table's statistics do not know: a frequent one and an absent one look alike."""

import math
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection

from conversations.services.search import messages as search
from conversations.services.search.words import read_words
from conversations.tests.factories import NOON, USER_ID, make_conversation, make_message, minutes

MORE_THAN_A_WALK = search.MOST_EMPTY_CONVERSATIONS + 20


@pytest.fixture(autouse=True)
def _no_estimate_is_low(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a table whose statistics know some words, and let even one expected match count as many."""
    monkeypatch.setattr(search, "MOST_INDEXED_MATCHES", 0)
    filling = make_conversation(user_id=None)
    _insert_messages(filling.id, "known words", 3 * search.MOST_PROBED_MATCHES)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE messages")


def test_a_rare_one_is_found_in_the_index() -> None:
    """It stands where a walk would not have come in one request."""
    oldest = make_conversation(updated_at=NOON - minutes(MORE_THAN_A_WALK))
    message = make_message(oldest, "about samovars")
    for number in range(MORE_THAN_A_WALK):
        make_conversation(updated_at=NOON - minutes(number))
    (hit,) = search.search_messages(user_id=USER_ID, text="samovars", limit=10).hits
    assert hit.message_id == message.id


def test_a_frequent_one_is_looked_for_in_the_caller_s_conversations() -> None:
    _insert_messages(make_conversation(user_id=None).id, "samovars", search.MOST_PROBED_MATCHES + 1)
    mine = make_conversation()
    for _ in range(2):
        make_message(mine, "about samovars")
    found = search.search_messages(user_id=USER_ID, text="samovars", limit=1)
    assert len(found.hits) == 1
    # The cursor says which way it goes on.
    assert found.next is not None
    assert found.next.startswith("w")


def test_the_pairs_of_a_word_without_spaces_do_not_count_as_independent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each pair is in a quarter of the messages, always with the others. PostgreSQL expects a quarter of a quarter."""
    monkeypatch.setattr(search, "MOST_INDEXED_MATCHES", search.MOST_PROBED_MATCHES // 2)
    _insert_messages(make_conversation(user_id=None).id, "你好世界今天天气很好", search.MOST_PROBED_MATCHES + 1)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE messages")
    mine = make_conversation()
    for _ in range(2):
        make_message(mine, "你好世界今天天气很好")
    found = search.search_messages(user_id=USER_ID, text="世界今天", limit=1)
    assert len(found.hits) == 1
    assert found.next is not None
    assert found.next.startswith("w")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("known", 100),
        ("known words", 50),
        ('"known words"', 50),
        ("known or words", 150),
        ("known -words", 100),
        ("-known", math.inf),
        ('"known words" or word', 50 + 10),
    ],
)
def test_what_is_expected_of_a_query(monkeypatch: pytest.MonkeyPatch, text: str, expected: float) -> None:
    def expect(operands: list[str], _: object) -> list[float]:
        return [{"'known'": 100.0, "'words'": 50.0}.get(one.removesuffix(":*"), 10.0) for one in operands]

    monkeypatch.setattr(search, "expected_matches", expect)

    def fetch(sql: str, values: object) -> list[tuple[object, ...]]:
        if sql == search.ROWS_SQL:
            return [(100.0,)]
        with connection.cursor() as cursor:
            cursor.execute(sql, values)
            return cursor.fetchall()

    words = read_words(text, fetch)
    assert words is not None
    assert search._expect(words, fetch) == pytest.approx(expected)


def test_phrases_are_looked_for_in_the_caller_s_messages_only() -> None:
    _insert_messages(make_conversation(user_id=None).id, "a red samovar", 300)
    mine = make_conversation()
    for content in ("a red samovar", "a samovar, red"):
        make_message(mine, content)
    values = {
        "user_id": USER_ID,
        "limit": 10,
        "loose": "('red' & 'samovar')",
        "exact": "('red' <-> 'samovar')",
        "typed": ["%red samovar%"],
        "wanted": ["red", "samovar"],
        "time": None,
        "id": None,
    }
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {search.INDEXED_SQL}", values)
        [(plan,)] = cursor.fetchone()
    looked_through = [node["Actual Loops"] for node in nodes_of(plan["Plan"]) if node.get("Alias") == "whole"]
    assert looked_through == [2]


@pytest.mark.parametrize("is_frequent", [True, False])
def test_a_last_word_that_is_a_letter_so_far(monkeypatch: pytest.MonkeyPatch, *, is_frequent: bool) -> None:
    """A user begins to type a second word. The index would read all words with that letter, half of all messages."""
    monkeypatch.setattr(search, "UNKNOWN_WORD_SHARE", 0 if is_frequent else 1)
    asked: list[str] = []
    window = search._read_window

    def note(wanted: search._Search, *place: Any, **options: Any) -> Any:
        asked.append(wanted.values["loose"])
        return window(wanted, *place, **options)

    monkeypatch.setattr(search, "_read_window", note)
    mine = make_conversation()
    texts = ["a tea bag", "Bags of tea", "tea cups", "tea abc", "tea\nbiscuits", "https://example.org/tea/bag"]
    ids = {make_message(mine, text).id: text for text in texts}

    def found(text: str) -> set[str]:
        return {
            ids[hit.message_id] for hit in search.search_messages(user_id=USER_ID, text=text, limit=10).hits if hit.message_id
        }

    assert found("tea b") == {*texts} - {"tea cups", "tea abc"}
    assert found("example.org/tea/b") == {"https://example.org/tea/bag"}
    assert found("example.org/tea/c") == set()
    assert found("tea -bag b") == {"Bags of tea", "tea\nbiscuits"}
    assert ["'b':*" in loose or "'c':*" in loose for loose in asked] == [not is_frequent] * 4
    assert found("cups or b") == {*texts} - {"tea abc"}


def nodes_of(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", ()):
        yield from nodes_of(part)


def _insert_messages(conversation_id: object, content: str, count: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO messages (conversation_id, role, content) SELECT %s, 'user', %s FROM generate_series(1, %s)",
            [conversation_id, content, count],
        )
