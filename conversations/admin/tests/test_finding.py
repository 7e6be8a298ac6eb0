"""Finding conversations: search, filters, the columns of the list."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from conversations.admin import filters, search
from conversations.admin.visible import visible
from conversations.models import Assistant, StaffAccess
from conversations.tags import tag_columns
from conversations.tests.factories import NOON, USER_ID, make_conversation

from .factories import make_chat_user, make_long_conversation, make_message

pytestmark = pytest.mark.django_db

LIST = "/admin/conversations/conversation/"
OTHER_USER = UUID("22222222-2222-4222-8222-222222222222")


def titles(client: Client, **query: str) -> list[str]:
    answer = client.get(LIST, query)
    assert answer.status_code == 200, answer
    return [row.title for row in answer.context["cl"].result_list]


@pytest.fixture
def some(db) -> None:
    make_chat_user()
    make_chat_user(OTHER_USER, "bob@example.com")
    sea = make_conversation(title="Poems of the sea", updated_at=NOON + timedelta(hours=2))
    make_message(sea, "user", "Write about a schooner in the fog")
    make_message(make_conversation(title="Recipes", user_id=OTHER_USER), "assistant", "Take two onions")


@pytest.mark.usefixtures("some")
@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("sea", ["Poems of the sea"]),
        ("SEA poems", ["Poems of the sea"]),
        ("schooner", ["Poems of the sea"]),
        ('"two onions"', ["Recipes"]),
        ('"onions two"', []),
        ("onions -two", []),
        ("recipes or schooner", ["Poems of the sea", "Recipes"]),
        ("nowhere", []),
        ("ADA@", ["Poems of the sea"]),
        ("bob@example.com", ["Recipes"]),
        ("@example.com", []),
        (str(USER_ID), ["Poems of the sea"]),
        (str(USER_ID).upper(), ["Poems of the sea"]),
        ("%", []),
        ("\x00", ["Poems of the sea", "Recipes"]),
        ("  ", ["Poems of the sea", "Recipes"]),
    ],
)
def test_search(support: Client, wanted: str, found: list[str]) -> None:
    assert titles(support, q=wanted) == found


def test_an_exact_address_finds_no_longer_ones(support: Client) -> None:
    make_chat_user(USER_ID, "Jo@acme.co", name="Jo")
    make_chat_user(OTHER_USER, "jo@acme.com", name="Joan")
    make_conversation(title="short")
    make_conversation(title="long", user_id=OTHER_USER)
    assert titles(support, q="jo@acme.co") == ["short"]
    assert titles(support, q=" JO@ACME.COM ") == ["long"]
    assert set(titles(support, q="jo@acme.c")) == {"short", "long"}
    users = support.get("/admin/conversations/chatuser/", {"q": "jo@acme.co"}).context["cl"].result_list
    assert [user.email for user in users] == ["Jo@acme.co"]


@pytest.mark.parametrize(
    "wanted",
    [
        "jo+news@acme.co",
        "JO+NEWS@ACME.CO",
        "Jo Smith <jo+news@acme.co>",
        '"Smith, Jo" <Jo+News@acme.co>;',
        "<jo+news@acme.co>",
        "mailto:jo+news@acme.co",
        "“jo+news@acme.co”",
        "'jo+news@acme.co',",
        "\u200bjo+news@acme.co\u00a0",
    ],
)
def test_an_address_is_found_as_staff_copy_it(support: Client, wanted: str) -> None:
    for number, address in enumerate(("Jo+news@acme.co", "jo+news@acme.com", "jo@acme.co", "joXnews@acme.co"), 1):
        make_chat_user(UUID(int=number), address)
        make_conversation(user_id=UUID(int=number), title=address)
    assert titles(support, q=wanted) == ["Jo+news@acme.co"]


def test_an_address_may_have_any_letters(support: Client) -> None:
    for number, address in enumerate(('"jo smith"@acme.co', "jörg_%@größe.example", "jörgx%@größe.example"), 1):
        make_chat_user(UUID(int=number), address)
        make_conversation(user_id=UUID(int=number), title=address)
    assert titles(support, q='"jo smith"@acme.co') == ['"jo smith"@acme.co']
    for wanted in ("jörg_%@größe.example", "jo\u0308rg_%@größe.example", "jörg_%@"):
        assert titles(support, q=wanted) == ["jörg_%@größe.example"]


def test_more_users_than_are_taken_are_announced(support: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "MOST_USERS", 2)
    for number in range(3):
        make_chat_user(UUID(int=number + 1), f"jo{number}@acme.com")
        make_chat_user(UUID(int=number + 10), f"jo@acme{number}.com")
        make_conversation(user_id=UUID(int=number + 10), title=str(number))
    answer = support.get(LIST, {"q": "jo@"})
    assert len(answer.context["cl"].result_list) == 2
    assert "More than 2 users" in answer.content.decode()


def test_titles_names_and_tags_stay_on_their_line(support: Client) -> None:
    hostile = "inv\u202egnp.exe\x1b[31m\u2066\u200b\nx"
    make_chat_user(email=f"a{hostile}@x", name=hostile)
    conversation = make_conversation(title=hostile, model_tag=hostile[:20])
    make_message(conversation, "assistant", "x", model_tag=hostile[:20], status="failed", error_code="\u202e")
    for path in (
        LIST,
        f"{LIST}{conversation.pk}/change/",
        f"/admin/conversations/chatuser/{USER_ID}/change/",
        "/admin/conversations/chatuser/",
    ):
        page = support.get(path).content.decode()
        assert not set("\u202e\x1b\u2066\u200b") & set(page), path
        assert "\\u202e" in page


def test_visible_text_keeps_what_people_write() -> None:
    for text in ("Größe – “naïve”", "مرحبا שלום", "👩\u200d🚀❤\ufe0f", "a\u00a0b", "日本語"):
        assert visible(text) == text


def test_exact_ids_find_a_conversation_and_a_message(support: Client) -> None:
    conversation = make_conversation(title="This one")
    message = make_message(conversation, "user", "?")
    make_conversation(title="Another")
    assert titles(support, q=str(conversation.pk)) == ["This one"]
    assert titles(support, q=str(message.pk)) == ["This one"]
    assert titles(support, q=str(uuid4())) == []


@pytest.mark.parametrize("wanted", ["-onions", "''", "!!!", "-a -b", "-" * 33, "- " * 40, "-soup " + "-" * 40])
@pytest.mark.usefixtures("some")
def test_a_search_without_a_wanted_word_says_so(support: Client, wanted: str) -> None:
    answer = support.get(LIST, {"q": wanted})
    assert list(answer.context["cl"].result_list) == []
    assert "at least one word" in answer.content.decode()


@pytest.mark.usefixtures("some")
def test_a_find_in_a_message_leads_to_that_message(support: Client) -> None:
    page = support.get(LIST, {"q": "schooner"})
    row = page.context["cl"].result_list[0]
    assert f"?message={row.matching_message}#message-{row.matching_message}" in page.content.decode()


def test_more_matches_than_are_taken_are_announced(support: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "MOST_MATCHES", 2)
    for number in range(4):
        make_message(make_conversation(title=f"Number {number}"), "user", "common", minute=number)
    answer = support.get(LIST, {"q": "common"})
    assert sorted(row.title for row in answer.context["cl"].result_list) == ["Number 2", "Number 3"]
    assert "2 or more matches" in answer.content.decode()


@pytest.mark.django_db(transaction=True)
def test_a_search_that_takes_too_long_ends_with_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    from django.db import connection

    from conversations.models import Conversation, Message
    from conversations.querysets import MessageQuerySet

    def slow(self: MessageQuerySet, *words: str | None) -> MessageQuerySet:
        return self.extra(where=["pg_sleep(5) IS NOT NULL"])

    make_message(make_conversation(), "user", "?")
    monkeypatch.setattr(search, "SEARCH_TIMEOUT_MS", 50)
    monkeypatch.setattr(type(Message.objects.all()), "with_words", slow)
    found = search.search_conversations(Conversation.objects.all(), "word")
    assert not found.conversations.exists()
    assert "too long" in found.notice
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('statement_timeout'), current_setting('gin_fuzzy_search_limit')")
        assert cursor.fetchone() == ("0", "0")


def _with_replies(title: str, *statuses: str, **fields) -> None:
    conversation = make_conversation(title=title, **fields)
    for minute, status in enumerate(statuses):
        make_message(conversation, "assistant", "x", minute=minute, status=status)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"last_reply": "failed"}, {"failed at last"}),
        ({"last_reply": "complete"}, {"recovered", "fine"}),
        ({"last_reply": "interrupted"}, {"interrupted"}),
        ({"last_reply": "streaming"}, {"running"}),
        ({"last_reply": "stopped"}, set()),
        ({"last_reply": "nonsense"}, {"failed at last", "recovered", "fine", "interrupted", "running"}),
        ({"trouble": "failed"}, {"failed at last", "recovered"}),
        ({"trouble": "interrupted"}, {"interrupted"}),
        ({"trouble": "both"}, {"failed at last", "recovered", "interrupted"}),
        ({"trouble": "both", "last_reply": "complete"}, {"recovered"}),
    ],
)
def test_filters_by_replies(support: Client, query: dict[str, str], found: set[str]) -> None:
    _with_replies("failed at last", "complete", "failed")
    _with_replies("recovered", "failed", "complete")
    _with_replies("fine", "complete")
    _with_replies("interrupted", "interrupted")
    _with_replies("running", "streaming")
    assert set(titles(support, **query)) == found


def test_an_answer_that_does_not_count_is_not_the_last_reply(support: Client) -> None:
    conversation = make_conversation(title="Regenerated in vain")
    make_message(conversation, "assistant", "good", minute=1)
    make_message(conversation, "assistant", "", minute=2, status="failed", is_active=False)
    assert titles(support, last_reply="complete") == ["Regenerated in vain"]
    assert titles(support, last_reply="failed") == []


def test_filters_by_feedback(support: Client) -> None:
    for title, feedback in (("liked", 1), ("disliked", -1), ("neither", None)):
        make_message(make_conversation(title=title), "assistant", "x", feedback=feedback)
    assert titles(support, feedback="up") == ["liked"]
    assert titles(support, feedback="down") == ["disliked"]


def test_names_that_clients_invent_do_not_push_models_out_of_the_filter(support: Client, settings: Any) -> None:
    settings.ALLOWED_MODELS = ["d20", "d32"]
    Assistant.objects.create(name="Poet", model_tag="verse")
    for number in range(filters.MOST_MODELS + 1):
        make_conversation(model_tag=f"a{number:03}")
    (shown,) = [spec for spec in support.get(LIST).context["cl"].filter_specs if spec.title == "model"]
    assert [tag for tag, _ in shown.lookup_choices] == ["d20", "d32", "default", "verse"]
    assert len(titles(support, model="a007")) == 1


def test_filters_by_what_a_conversation_is(support: Client) -> None:
    assistant = Assistant.objects.create(name="Poet")
    make_conversation(title="plain", updated_at=timezone.now())
    make_conversation(title="other model", model_tag="d32")
    make_conversation(title="favourite", is_favorited=True)
    make_conversation(title="with poet", assistant=assistant)
    assert titles(support, model="d32") == ["other model"]
    assert titles(support, is_favorited__exact="1") == ["favourite"]
    assert titles(support, assistant__id__exact=str(assistant.pk)) == ["with poet"]
    since = (timezone.now() - timedelta(days=1)).isoformat()
    assert titles(support, updated_at__gte=since) == ["plain"]


def test_filters_by_trash(support: Client) -> None:
    make_conversation(title="plain")
    removed = make_conversation(title="thrown away", deleted_at=NOON, expires_at=NOON)
    assert titles(support, trash="1") == ["thrown away"]
    assert titles(support, trash="0") == ["plain"]
    assert sorted(titles(support, trash="x")) == sorted(titles(support)) == ["plain", "thrown away"]
    assert "<dt>Deleted by its user (UTC)</dt>" in support.get(f"{LIST}{removed.id}/change/").content.decode()


def test_filters_by_archive_and_tag(support: Client) -> None:
    make_conversation(title="plain")
    kept = make_conversation(title="put away", is_archived=True)
    make_conversation(title="tagged", **tag_columns(["Müller <b>", "Tea"]))
    assert titles(support, is_archived__exact="1") == ["put away"]
    assert sorted(titles(support, is_archived__exact="0")) == ["plain", "tagged"]
    assert titles(support, tag="TEA ") == titles(support, tag="mu\u0308ller <B>", is_archived__exact="0") == ["tagged"]
    assert titles(support, tag="te") == []
    assert len(titles(support, tag="")) == 3
    page = support.get(LIST, {"tag": "<b>", "is_archived__exact": "0"}).content.decode()
    assert '<input name="tag" value="&lt;b&gt;" maxlength="50">' in page
    assert '<input type="hidden" name="is_archived__exact" value="0">' in page
    assert "<dt>Archived</dt>" in support.get(f"{LIST}{kept.id}/change/").content.decode()


@pytest.mark.parametrize("condition", ["title__contains", "messages__content__contains", "session_id__startswith"])
def test_no_other_condition_can_be_put_into_the_address(support: Client, condition: str) -> None:
    assert support.get(LIST, {condition: "x"}).status_code == 400


def test_the_models_to_choose_from_are_those_in_use(support: Client) -> None:
    for tag in ("b", "a", "b", None, ""):
        make_conversation(model_tag=tag)
    filters = {one.title: one for one in support.get(LIST).context["cl"].filter_specs}
    assert filters["model"].lookup_choices == [("", "(none)"), ("a", "a"), ("b", "b")]


def test_the_columns_of_the_list(support: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("conversations.admin.summaries.MOST_COUNTED_MESSAGES", 5)
    make_chat_user()
    make_long_conversation(4, title="long")
    _with_replies("short", "complete", "failed", user_id=None, updated_at=NOON + timedelta(days=1))
    page = support.get(LIST)
    short, long = page.context["cl"].result_list
    assert (short.summary.message_count, short.summary.last_status, short.summary.email) == ("2", "failed", "")
    assert (long.summary.message_count, long.summary.last_status, long.summary.email) == ("5+", "complete", "ada@example.com")
    for told in ("anonymous", "ada@example.com", "2026-11-21 12:00", "badge-failed"):
        assert told in page.content.decode()


def test_a_lists_queries_do_not_grow_with_its_rows(support: Client, django_assert_num_queries) -> None:
    def look() -> None:
        # Session, user, second factor, permissions twice; the models and assistants to filter by; count; rows; their summaries;
        # note.
        with django_assert_num_queries(11):
            support.get(LIST)

    # The session is noted once a minute.
    support.get("/admin/")
    make_long_conversation(1)
    look()
    for _ in range(40):
        make_long_conversation(1)
    look()


@pytest.mark.parametrize("query", [{}, {"q": str(USER_ID)}, {"last_reply": "complete"}])
def test_rows_are_counted_in_no_order(support: Client, query: dict[str, str]) -> None:
    make_long_conversation(1)
    with CaptureQueriesContext(connection) as asked:
        assert support.get(LIST, query).context["cl"].result_count == 1
    counts = [one["sql"] for one in asked if one["sql"].startswith("SELECT COUNT")]
    assert counts
    assert not [sql for sql in counts if 'ORDER BY "conversations"' in sql]


def test_a_list_counts_no_further_than_staff_page(support: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("conversations.admin.lists.MOST_COUNTED", 3)
    for number in range(6):
        make_conversation(title=str(number))
    assert support.get(LIST).context["cl"].result_count == 3


def test_users_are_found_by_beginnings_and_id(support: Client) -> None:
    make_chat_user(name="Ada Lovelace")
    make_chat_user(OTHER_USER, "bob@example.com", name="Bob")

    def found(wanted: str) -> list[str]:
        rows = support.get("/admin/conversations/chatuser/", {"q": wanted}).context["cl"].result_list
        return [row.email for row in rows]

    assert found("ADA@EX") == found("ada love") == found(str(USER_ID)) == ["ada@example.com"]
    assert found("example") == found("lovelace") == []
    assert len(found("")) == 2


@pytest.mark.parametrize(
    ("since", "until", "found"),
    [
        ("2026-03-02", "2026-03-04", ["3rd", "2nd"]),
        ("2026-03-03", "", ["4th", "3rd"]),
        ("", "2026-03-03", ["2nd"]),
        ("", "", ["4th", "3rd", "2nd"]),
    ],
)
def test_staff_type_a_period(support: Client, since: str, until: str, found: list[str]) -> None:
    for day, title in ((2, "2nd"), (3, "3rd"), (4, "4th")):
        make_conversation(title=title, updated_at=datetime(2026, 3, day, tzinfo=UTC))
    period = {"updated_at__gte": since, "updated_at__lt": until}
    assert titles(support, **period) == found
    page = support.get(LIST, {**period, "q": "a <b>", "is_favorited__exact": "0", "p": "1"}).content.decode()
    assert f'<input type="date" name="updated_at__gte" value="{since}">' in page
    assert f'<input type="date" name="updated_at__lt" value="{until}">' in page
    # The form keeps the search and the other filters, and begins at the first page.
    assert '<input type="hidden" name="q" value="a &lt;b&gt;">' in page
    assert '<input type="hidden" name="is_favorited__exact" value="0">' in page
    assert '<input type="hidden" name="p"' not in page


@pytest.mark.parametrize("day", ["2026-02-31", "soon", "10000-01-01", "2026-03-01' OR 1=1"])
def test_a_day_that_does_not_exist_is_refused(support: Client, day: str) -> None:
    make_conversation()
    answer = support.get(LIST, {"updated_at__gte": day})
    assert (answer.status_code, answer["Location"]) == (302, f"{LIST}?e=1")


def test_the_records_of_access_take_a_period(client: Client, admin_user: Any) -> None:
    client.force_login(admin_user)
    StaffAccess.objects.create(
        staff_name="ann", kind="read", conversation_id=uuid4(), at=datetime(2026, 3, 2, 23, 59, tzinfo=UTC)
    )
    address = "/admin/conversations/staffaccess/"
    for until, count in (("2026-03-03", 1), ("2026-03-02", 0)):
        answer = client.get(address, {"at__gte": "2026-03-01", "at__lt": until})
        assert answer.context["cl"].result_count == count
