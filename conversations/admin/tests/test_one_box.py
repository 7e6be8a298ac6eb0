"""The box in the header: what it finds, why, and for whom."""

from uuid import UUID

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from conversations.models import StaffAccess
from conversations.tests.factories import USER_ID, make_conversation

from .factories import TRACE_ID, make_chat_user, make_message, make_staff

pytestmark = pytest.mark.django_db

FIND = "/admin/conversations/conversation/find/"
BOB = UUID("b0b00000-0000-4000-8000-000000000001")


def found(client: Client, wanted: str) -> list[tuple[str, str]]:
    """Return what the box finds, each with the reason."""
    page = client.get(FIND, {"q": wanted})
    finds = page.context["finds"]
    return [(one.email, one.why) for one in finds.people] + [(one.title, one.why) for one in finds.places]


@pytest.fixture
def some() -> None:
    make_chat_user(name="Ada Lovelace")
    make_chat_user(BOB, "ada@example.com.au", name="Ada")
    conversation = make_conversation(title="Sailing a schooner", session_id="shop-17")
    asked = make_message(conversation, "user", "Which <b>rope</b> for a halyard?")
    failed = {"status": "failed", "trace_id": TRACE_ID, "parent": asked}
    make_message(conversation, "assistant", "A strong", minute=1, **failed)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("ADA@example.com", [("ada@example.com", "exact e-mail address")]),
        (
            "ada@exam",
            [
                ("ada@example.com", "the e-mail address begins like this"),
                ("ada@example.com.au", "the e-mail address begins like this"),
            ],
        ),
        ("Ada Lovelace", [("ada@example.com", "exact name")]),
        ("shop-17", [("Sailing a schooner", "the session's id")]),
        (TRACE_ID, [("Sailing a schooner", "the trace of this reply")]),
        (str(USER_ID), [("ada@example.com", "the user's id")]),
        ("schooner", [("Sailing a schooner", "words in the title")]),
        ("halyard", [("Sailing a schooner", "words in a message of the user")]),
        ("12345678-1234-4123-8123-123456789012", []),
        ("nothing like it", []),
    ],
)
@pytest.mark.usefixtures("some")
def test_each_find_says_why(support: Client, wanted: str, expected: list[tuple[str, str]]) -> None:
    assert sorted(found(support, wanted)) == expected


@pytest.mark.usefixtures("some")
def test_ids_of_conversations_and_messages(support: Client) -> None:
    conversation = make_conversation(title="This one")
    message = make_message(conversation, "user", "?")
    assert found(support, str(conversation.pk)) == [("This one", "the conversation's id")]
    page = support.get(FIND, {"q": str(message.pk)}).content.decode()
    assert f"?message={message.pk}#message-{message.pk}" in page and "the id of this message" in page


@pytest.mark.usefixtures("some")
def test_an_excerpt_marks_the_words_and_escapes_the_rest(support: Client) -> None:
    page = support.get(FIND, {"q": "halyard"}).content.decode()
    assert "Which &lt;b&gt;rope&lt;/b&gt; for a <mark>halyard</mark>" in page


def test_every_search_is_noted_and_an_empty_one_is_not(support: Client) -> None:
    support.get(FIND)
    support.get(FIND, {"q": " ada\x00@example.com "})
    assert [(noted.kind, noted.search) for noted in StaffAccess.objects.all()] == [("listed", "ada@example.com")]


@pytest.mark.usefixtures("some")
def test_people_are_shown_only_to_those_who_may_see_users(client: Client) -> None:
    reader = make_staff("rita")
    client.force_login(reader)
    assert client.get(FIND, {"q": "ada"}).status_code == 403
    reader.user_permissions.add(Permission.objects.get(codename="view_conversation"))
    assert found(client, "ada@example.com") == []
    assert ("Sailing a schooner", "words in the title") in found(client, "schooner")


@pytest.mark.parametrize("wanted", ["-" * 40 + "x", "-onions", "'' \x00", "(" * 300, "\u202e", "%00", "\x02a\x03", "a" * 1000])
@pytest.mark.usefixtures("some")
def test_odd_text_finds_nothing_and_breaks_nothing(support: Client, wanted: str) -> None:
    assert support.get(FIND, {"q": wanted}).status_code == 200


@pytest.mark.parametrize("wanted", ["halyard", "ada", "shop-17", str(USER_ID)])
@pytest.mark.usefixtures("some")
def test_a_search_makes_few_queries(support: Client, wanted: str, django_assert_max_num_queries) -> None:
    # The session is noted once a minute.
    support.get("/admin/")
    with django_assert_max_num_queries(20):
        support.get(FIND, {"q": wanted})


def test_titles_are_looked_up_by_their_words(support: Client) -> None:
    with CaptureQueriesContext(connection) as asked:
        support.get(FIND, {"q": "halyard"})
    (titles,) = [one["sql"] for one in asked if "search_text(conversations.title)" in one["sql"]]
    # With a smaller limit, PostgreSQL would read all titles in the order of time.
    assert titles.endswith("LIMIT 500")


@pytest.mark.parametrize(
    "path", ["", "conversations/conversation/", "conversations/chatuser/", "conversations/conversation/find/"]
)
def test_every_page_has_one_box(support: Client, path: str) -> None:
    page = support.get(f"/admin/{path}").content.decode()
    assert page.count("data-find") == 1
    assert "conversations/find.js" in page
