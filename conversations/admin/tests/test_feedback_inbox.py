"""The inbox of ratings: what it lists, and how one is handled."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission
from django.test import Client

from conversations.models import Assistant, Conversation, Message, StaffAccess
from conversations.services.replies.feedback import rate_reply
from conversations.tests.factories import NOON, USER_ID, make_conversation

from .factories import make_chat_user, make_message, make_staff

pytestmark = pytest.mark.django_db

INBOX = "/admin/conversations/conversation/feedback/"


def make_rated(
    comment: str, rating: int = -1, *, minute: float = 1, conversation: Conversation | None = None, **fields
) -> Message:
    conversation = conversation or make_conversation(title=f"About {comment}")
    asked = make_message(conversation, "user", "Why?", minute=minute - 0.5)
    rated = {"feedback": rating, "feedback_comment": comment, **fields}
    return make_message(conversation, "assistant", "Because", minute=minute, parent=asked, **rated)


def comments(client: Client, **asked: str) -> list[str]:
    return [row.feedback_comment for row in client.get(INBOX, asked).context["rows"]]


def test_the_newest_ratings_come_first_and_lead_to_their_message(support: Client) -> None:
    make_chat_user()
    make_rated("old", minute=1)
    newest = make_rated("new", 1, minute=2)
    assert comments(support) == ["new", "old"]
    page = support.get(INBOX).content.decode()
    assert f"{newest.conversation_id}/change/?message={newest.pk}#message-{newest.pk}" in page
    assert "ada@example.com" in page and "About new" in page


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, ["good", "bad"]),
        ({"rating": "down"}, ["bad"]),
        ({"rating": "up"}, ["good"]),
        ({"state": "handled"}, ["done"]),
        ({"state": "all"}, ["good", "bad", "done"]),
        ({"model": "d32"}, ["good"]),
        ({"assistant": "poet"}, ["bad"]),
        ({"since": "2026-11-21"}, ["good"]),
        ({"until": "2026-11-21"}, ["bad"]),
        ({"q": "GOO"}, ["good"]),
        ({"q": "%"}, []),
        ({"rating": "x", "assistant": "x", "since": "2026-13-99", "before": "x", "q": "\x00"}, ["good", "bad"]),
    ],
)
def test_filters(support: Client, asked: dict[str, str], expected: list[str]) -> None:
    poet = Assistant.objects.create(name="Poet")
    make_rated("done", minute=1, feedback_handled_at=NOON)
    make_rated("bad", minute=2, conversation=make_conversation(assistant=poet))
    make_rated("good", 1, minute=24 * 60, model_tag="d32")
    if asked.get("assistant") == "poet":
        asked = {"assistant": str(poet.pk)}
    assert comments(support, **asked) == expected


def test_older_pages(support: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("conversations.admin.feedback.SHOWN", 2)
    for number in range(5):
        make_rated(str(number), 1 if number % 2 else -1, minute=number + 1)
    seen, address = [], INBOX
    while address:
        page = support.get(address)
        seen += [row.feedback_comment for row in page.context["rows"]]
        address = page.context["older"] and INBOX + page.context["older"]
    assert seen == ["4", "3", "2", "1", "0"]


def test_a_rating_is_handled_with_a_note_and_opened_again(support: Client) -> None:
    rated = make_rated("wrong")
    address = f"{INBOX}?rating=down"
    answer = support.post(address, {"message": str(rated.pk), "action": "handle", "note": " Told\x00 the vendor "})
    assert (answer.status_code, answer["Location"]) == (302, address)
    assert comments(support) == []
    page = support.get(INBOX, {"state": "handled"}).content.decode()
    assert "Handled by sue" in page and "Told the vendor" in page
    support.post(INBOX, {"message": str(rated.pk), "action": "reopen"})
    assert comments(support) == ["wrong"]


def test_another_rating_opens_it_again(support: Client) -> None:
    rated = make_rated("wrong")
    support.post(INBOX, {"message": str(rated.pk), "note": "seen"})
    rate_reply(conversation_id=rated.conversation_id, user_id=USER_ID, message_id=rated.pk, rating=-1, comment="still wrong")
    assert comments(support) == ["still wrong"]
    rate_reply(conversation_id=rated.conversation_id, user_id=USER_ID, message_id=rated.pk, rating=None)
    rated.refresh_from_db()
    assert (rated.feedback_handled_at, rated.feedback_handled_by, rated.feedback_note) == (None, None, None)


@pytest.mark.parametrize("message", ["", "x", "12345678-1234-4123-8123-123456789012"])
def test_a_rating_that_is_gone_is_said_to_be(support: Client, message: str) -> None:
    answer = support.post(INBOX, {"message": message}, follow=True)
    assert "its rating was taken back" in answer.content.decode()


def test_who_may_read_and_who_may_handle(client: Client) -> None:
    rated = make_rated("wrong")
    reader = make_staff("rita")
    client.force_login(reader)
    assert client.get(INBOX).status_code == 403
    reader.user_permissions.add(Permission.objects.get(codename="view_conversation"))
    assert "Mark as handled" not in client.get(INBOX).content.decode()
    assert client.post(INBOX, {"message": str(rated.pk)}).status_code == 403
    rated.refresh_from_db()
    assert rated.feedback_handled_at is None


def test_the_list_is_noted(support: Client) -> None:
    support.get(INBOX, {"q": "rude"})
    assert [(noted.kind, noted.search) for noted in StaffAccess.objects.all()] == [("listed", "rude")]


def test_the_dashboard_counts_open_ratings(support: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    from django.utils import timezone

    for number in range(3):
        make_rated(str(number), created_at=timezone.now() - timedelta(days=number))
    make_rated("handled", created_at=timezone.now(), feedback_handled_at=timezone.now())
    make_rated("old", created_at=timezone.now() - timedelta(days=40))
    page = support.get("/admin/conversations/conversation/dashboard/").content.decode()
    assert "<b>3</b>" in page and "?rating=down" in page
    monkeypatch.setattr("conversations.services.staff.feedback.MOST_READ", 2)
    assert "<b>1+</b>" in support.get("/admin/conversations/conversation/dashboard/").content.decode()


def test_a_rating_is_handled_where_it_opens(support: Client) -> None:
    rated = make_rated("It is wrong")
    page = f"/admin/conversations/conversation/{rated.conversation_id}/change/"
    # Only at the message that was opened: a page may have many.
    assert "Mark as handled" not in support.get(page).content.decode()
    assert "Mark as handled" in support.get(page, {"message": str(rated.pk)}).content.decode()
    assert support.post(INBOX, {"message": str(rated.pk), "action": "handle", "note": "Told the team"})["Location"] == INBOX
    shown = support.get(page, {"message": str(rated.pk)}).content.decode()
    assert "Handled by sue" in shown and "Told the team" in shown and "Mark as handled" not in shown


def test_queries_do_not_grow_with_the_rows(support: Client, django_assert_max_num_queries) -> None:
    for number in range(30):
        make_rated(str(number), minute=number)
    # The session is noted once a minute.
    support.get("/admin/")
    with django_assert_max_num_queries(12):
        support.get(INBOX)
