"""Which way a search goes for a word that the table's statistics do not know: a frequent one and an absent one look alike."""

import pytest
from django.db import connection

from conversations.services.search import messages as search
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


def _insert_messages(conversation_id: object, content: str, count: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO messages (conversation_id, role, content) SELECT %s, 'user', %s FROM generate_series(1, %s)",
            [conversation_id, content, count],
        )
