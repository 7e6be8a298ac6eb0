"""What a search may cost: a time for the whole, one search per user at a time, no connection between its windows."""

import itertools
from collections.abc import Callable, Iterator
from uuid import UUID

import pytest
from django.db import connection

from chatapi.tests.clients import UserClient
from conversations.exceptions import BadCursor, SearchTooBroad
from conversations.models import Message
from conversations.services.search import messages as search
from conversations.tests.factories import NOON, USER_ID, make_conversation, make_message, minutes

# A text without words, which is looked for conversation by conversation.
TEA = "%:%"
SLOW = "AND (newest.searched NOT LIKE '%%slow%%' OR pg_sleep(60) IS NULL)"


def clock_of(step_s: float) -> Callable[[], float]:
    """Return a clock on which so much time passes between two looks at it."""
    return itertools.count(0.0, step_s).__next__


@pytest.fixture
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "WINDOWS_TEXT", ((2, 200), (1, 200), (1, 20)))
    monkeypatch.setattr(search, "WINDOWS_WORDS", ((2, 200), (1, 200), (1, 20)))


@pytest.fixture
def short_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have statements that are given up soon; what is not made slow takes a fraction of this."""
    for name in ("SEARCH_S", "FIRST_WINDOW_S", "SNIPPETS_S"):
        monkeypatch.setattr(search, name, 0.4)


def make_history(*contents: str | None) -> list[UUID]:
    """Make conversations, newest activity first, each of one message or none; return the ids of the messages."""
    made = []
    for number, content in enumerate(contents):
        conversation = make_conversation(updated_at=NOON - minutes(number))
        if content is not None:
            made.append(make_message(conversation, content).id)
    return made


def read_all(text: str, clock: Callable[[], Callable[[], float]] | None = None, limit: int = 50) -> Iterator[list[UUID]]:
    """Yield the pages of a search, up to its end."""
    cursor = None
    for _ in range(40):
        options = {} if clock is None else {"clock": clock()}
        page = search.search_messages(user_id=USER_ID, text=text, limit=limit, cursor=cursor, **options)
        yield [hit.message_id for hit in page.hits]
        assert page.next is None or page.next != cursor, "the search does not get further"
        cursor = page.next
        if cursor is None:
            return
    raise AssertionError("the search has no end")


@pytest.mark.django_db
@pytest.mark.usefixtures("small_windows")
def test_when_the_time_is_up_a_page_holds_what_was_found_and_where_to_go_on() -> None:
    (oldest,) = make_history(*[None] * 7, TEA)
    # Each look takes a third of the time: there is enough for one window.
    assert list(read_all(TEA, lambda: clock_of(search.SEARCH_S / 3))) == [[], [], [], [oldest]]
    # With time enough, one request does it.
    assert list(read_all(TEA, lambda: clock_of(0.0))) == [[oldest]]


@pytest.mark.django_db
@pytest.mark.usefixtures("small_windows")
def test_a_request_whose_time_is_up_at_once_gets_further_nevertheless() -> None:
    messages = make_history(None, TEA, TEA, None, TEA)
    pages = list(read_all(TEA, lambda: clock_of(search.SEARCH_S * 2)))
    assert [message_id for page in pages for message_id in page] == messages


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("small_windows", "short_time")
@pytest.mark.parametrize("text", [TEA, "tea"])
def test_a_conversation_that_takes_too_long_is_passed_over(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    for name in ("WALKED_TEXT_SQL", "WALKED_WORDS_SQL"):
        statement = getattr(search, name).replace("left(content, 100000) AS searched", "content AS searched")
        monkeypatch.setattr(search, name, statement + SLOW.replace("newest.searched", "newest.searched::text"))
    monkeypatch.setattr(search, "_is_rare", lambda *_: False)
    messages = make_history(text, f"slow {text}", text, None, text)
    found = [message_id for page in read_all(text) for message_id in page]
    assert found == [messages[0], *messages[2:]]


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("short_time")
@pytest.mark.parametrize("pages_before", [0, 1])
def test_where_the_index_takes_too_long_the_conversations_are_walked(
    monkeypatch: pytest.MonkeyPatch, pages_before: int
) -> None:
    monkeypatch.setattr(search, "WINDOW_MATCHES", 2)
    messages = make_history(*["tea"] * 5)
    for number, message_id in enumerate(messages):
        Message.objects.filter(id=message_id).update(created_at=NOON - minutes(number))
    cursor, found = None, []
    for _ in range(pages_before):
        page = search.search_messages(user_id=USER_ID, text="tea", limit=2)
        found, cursor = [hit.message_id for hit in page.hits], page.next
    monkeypatch.setattr(search, "INDEXED_SQL", f"SELECT *, pg_sleep(60) FROM ({search.INDEXED_SQL}) AS slow")
    page = search.search_messages(user_id=USER_ID, text="tea", limit=2, cursor=cursor)
    assert (page.hits, (page.next or "")[:1]) == ([], "w")
    while page.next is not None:
        page = search.search_messages(user_id=USER_ID, text="tea", limit=2, cursor=page.next)
        found += [hit.message_id for hit in page.hits]
    assert sorted(found) == sorted(messages)


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("short_time")
@pytest.mark.parametrize(("text", "snippet"), [("tea", "green \x02tea\x03"), (TEA, f"green \x02{TEA}\x03")])
def test_what_was_found_is_returned_although_marking_it_takes_too_long(
    monkeypatch: pytest.MonkeyPatch, text: str, snippet: str
) -> None:
    monkeypatch.setattr(search, "AROUND", f"pg_sleep(60)::text || {search.AROUND}")
    make_history(f"green {text}")
    (hit,) = search.search_messages(user_id=USER_ID, text=text, limit=5).hits
    assert hit.snippet == snippet


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("short_time")
def test_a_database_that_answers_nothing_in_time_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("conversations.services.search.words.NORMALIZE_SQL", "SELECT pg_sleep(60), %(terms)s::text[]")
    with pytest.raises(SearchTooBroad) as refusal:
        search.search_messages(user_id=USER_ID, text="tea", limit=5)
    assert refusal.value.retry_after_s == search.RETRY_AFTER_S


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("small_windows")
def test_no_connection_is_held_between_windows() -> None:
    make_history(*[None] * 9, TEA)
    held: list[bool] = []
    inside: list[bool] = []

    def clock() -> float:
        inside.append(connection.in_atomic_block)
        if not connection.in_atomic_block:
            held.append(connection.connection is not None)
        return 0.0

    search.search_messages(user_id=USER_ID, text=TEA, limit=5, clock=clock)
    # Before the first window, and between each two of the five.
    assert held == [False] * 5
    assert sum(inside) >= 5


@pytest.mark.django_db
def test_a_user_has_one_search_at_a_time(user: UserClient, stranger: UserClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "WAIT_S", 0.0)
    assert user.user_id is not None
    with search.searches.acquire(user.user_id):
        refused = user.get("/api/search?q=tea")
        assert (refused.status_code, refused.json()["code"]) == (429, "search_in_progress")
        assert int(refused.headers["Retry-After"]) >= 1
        assert stranger.get("/api/search?q=tea").status_code == 200
    assert user.get("/api/search?q=tea").status_code == 200


@pytest.mark.django_db
@pytest.mark.parametrize("cursor", ["i0s1.", "w0s3.", "w0s0.", "w0.x", "w0..", "i0..x", "w0..x", "w123456.", "x0."])
def test_a_cursor_that_is_none_of_ours_is_refused(cursor: str) -> None:
    with pytest.raises(BadCursor):
        search.search_messages(user_id=USER_ID, text="tea", limit=5, cursor=cursor)


@pytest.mark.django_db
def test_a_cursor_of_the_index_is_refused_for_text_that_is_no_words() -> None:
    for text in (TEA, "-" * 33):
        with pytest.raises(BadCursor):
            search.search_messages(user_id=USER_ID, text=text, limit=5, cursor="i0.")


@pytest.mark.django_db
@pytest.mark.parametrize("text", ["-" * 33, "-" * 200, "- " * 100, "->"])
def test_a_text_without_words_is_looked_for_as_it_is(text: str) -> None:
    (found, _) = make_history(f"before {text.upper()} after", "tea")
    (hit,) = search.search_messages(user_id=USER_ID, text=text.strip(), limit=5).hits
    assert hit.message_id == found
