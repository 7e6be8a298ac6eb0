"""Export everything of a user, and erase a user, on their page: who may, what is recorded, and what is said."""

import html
import io
import json
import zipfile
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from redis.exceptions import RedisError

from chatapi.permits.permit import Permits
from chatapi.permits.shares import at_most
from conversations.exceptions import OnHold, TooManyExports
from conversations.models import ChatUser, Conversation, RefusedRequests, StaffAccess
from conversations.services.history.exports.own_export import EXPORTS
from conversations.services.history.holds import place_hold
from conversations.tests.factories import USER_ID, make_conversation

from .factories import make_chat_user, make_long_conversation, make_staff

pytestmark = pytest.mark.django_db

PERSON = f"/admin/conversations/chatuser/{USER_ID}/"
ERASE, EXPORT = f"{PERSON}erase/", f"{PERSON}export/"
UNKNOWN = "/admin/conversations/chatuser/99999999-9999-4999-8999-999999999999/"


@pytest.fixture
def lead(db: None) -> Client:
    client = Client()
    client.force_login(make_staff("lea", "leads"))
    return client


def acts() -> list[tuple[str, str, str]]:
    found = StaffAccess.objects.filter(user_id=USER_ID).exclude(kind="listed").order_by("id")
    return list(found.values_list("staff_name", "kind", "search"))


def test_the_buttons_are_for_those_who_may(support: Client, operator: Client, lead: Client) -> None:
    make_chat_user()
    shown = {
        name: [text in client.get(f"{PERSON}change/").content.decode() for text in ("Export everything", "Erase…")]
        for name, client in (("support", support), ("operator", operator), ("lead", lead))
    }
    assert shown == {"support": [False, False], "operator": [True, False], "lead": [True, True]}


def test_others_are_refused_and_nothing_happens(support: Client, operator: Client) -> None:
    make_chat_user()
    make_conversation()
    for client, page in ((support, ERASE), (support, EXPORT), (operator, ERASE)):
        assert client.get(page).status_code == 403
        assert client.post(page, {"confirmation": "ada@example.com"}).status_code == 403
    assert Conversation.objects.count() == 1
    assert acts() == []


def test_everything_is_exported_and_recorded(operator: Client) -> None:
    make_chat_user()
    make_long_conversation(2, title="Bread")
    make_conversation(user_id=None, title="Of nobody")
    answer = operator.post(EXPORT)
    assert answer["Content-Disposition"] == f'attachment; filename="user-{USER_ID}.zip"'
    assert "no-store" in answer["Cache-Control"]
    archive = zipfile.ZipFile(io.BytesIO(b"".join(answer.streaming_content)))
    lines = [json.loads(line) for line in archive.read("history.jsonl").splitlines()]
    assert [line["conversation"]["title"] for line in lines if "conversation" in line] == ["Bread"]
    assert len([line for line in lines if "message" in line]) == 4
    assert "refused_requests.jsonl" in archive.namelist()
    assert acts() == [("olga", "exported", "everything")]


def test_more_than_one_request_can_export_is_said(operator: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    make_chat_user()
    make_long_conversation(2)
    monkeypatch.setattr("conversations.admin.people.EXPORT_FOR_S", -1.0)
    page = operator.post(EXPORT, follow=True).content.decode()
    assert f"export_history --user {USER_ID} --everything" in page
    assert acts() == []


def test_a_link_exports_nothing(operator: Client) -> None:
    make_chat_user()
    assert operator.get(EXPORT).status_code == 302
    assert acts() == []


def test_too_many_exports_are_said(operator: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    make_chat_user()
    monkeypatch.setattr("conversations.admin.people.exports", Permits(EXPORTS, at_most(0)))
    page = operator.post(EXPORT, follow=True)
    assert TooManyExports.detail in html.unescape(page.content.decode())
    assert acts() == []


def test_erasing_speaks_of_holds_only_where_there_are_any(lead: Client) -> None:
    make_chat_user()
    assert "on hold" not in lead.get(ERASE).content.decode()


def test_erasing_asks_for_the_address_first(lead: Client) -> None:
    make_chat_user()
    make_conversation()
    assert "Type <code>ada@example.com</code>" in lead.get(ERASE).content.decode()
    for typed in ("", "ada", "bo@example.com", "yes"):
        assert "Nothing was erased" in lead.post(ERASE, {"confirmation": typed}).content.decode()
    assert Conversation.objects.count() == 1
    assert acts() == []


def test_erasing_shows_the_receipt_and_is_recorded(lead: Client) -> None:
    make_chat_user()
    make_long_conversation(2)
    page = lead.post(ERASE, {"confirmation": " ADA@example.com "})
    receipt = json.loads(page.context["text"])
    assert (receipt["conversations"], receipt["messages"], receipt["is_complete"]) == (1, 4, True)
    assert "Keep this receipt" in page.content.decode()
    assert not Conversation.objects.exists()
    assert not ChatUser.objects.exists()
    # The record has the id, and nothing that the user was called.
    assert acts() == [("lea", "erased", "everything")]
    assert lead.get(ERASE).status_code == 404


def test_a_user_without_an_address_is_named_by_the_id(lead: Client) -> None:
    make_conversation()
    assert lead.post(ERASE, {"confirmation": str(USER_ID)}).context["receipt"].is_complete


def test_more_than_one_request_can_erase_is_said(lead: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    make_chat_user()
    make_conversation()
    monkeypatch.setattr("conversations.admin.people.ERASE_FOR_S", -1.0)
    page = lead.post(ERASE, {"confirmation": "ada@example.com"})
    assert "Erase again" in page.content.decode()
    assert Conversation.objects.count() == 1
    monkeypatch.undo()
    assert lead.post(ERASE, {"confirmation": "ada@example.com"}).context["receipt"].is_complete


def test_a_cache_that_fails_is_said(lead: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    make_chat_user()

    def fail(**_: Any) -> None:
        raise RedisError("redis://user:password@host")

    monkeypatch.setattr("conversations.admin.people.erase_user", fail)
    page = lead.post(ERASE, {"confirmation": "ada@example.com"}).content.decode()
    assert "Erase again" in page
    assert "redis:" not in page


def test_a_user_is_put_on_hold_from_the_page_and_then_not_erased(support: Client, superuser: Client) -> None:
    make_chat_user()
    make_conversation()
    address = f"/admin/conversations/legalhold/add/?user={USER_ID}"
    assert "Put on hold" not in support.get(f"{PERSON}change/").content.decode()
    assert f'href="{address}"' in superuser.get(f"{PERSON}change/").content.decode()
    assert str(USER_ID) in superuser.get(address).content.decode()
    place_hold(reason="Case 7", placed_by="root", user_id=USER_ID)
    assert "on hold" in superuser.get(ERASE).content.decode()
    page = superuser.post(ERASE, {"confirmation": "ada@example.com"}).content.decode()
    assert OnHold.detail in html.unescape(page)
    assert Conversation.objects.count() == 1


@pytest.mark.parametrize("page", [f"{UNKNOWN}erase/", f"{UNKNOWN}export/", "/admin/conversations/chatuser/x/erase/"])
def test_unknown_users_are_not_found(lead: Client, page: str) -> None:
    assert lead.post(page).status_code == 404


@pytest.mark.parametrize("page", [ERASE, EXPORT])
def test_a_reason_is_needed_for_these_too(lead: Client, settings: Any, page: str) -> None:
    settings.ADMIN_REASON = "required"
    make_chat_user()
    assert lead.post(page, {"confirmation": "ada@example.com"}).templates[0].name == "admin/conversations/reason.html"
    assert ChatUser.objects.exists()


def test_refused_requests_are_shown(support: Client) -> None:
    make_chat_user()
    assert support.get(f"{PERSON}change/").context["refused"] == {"limited": 0, "other": 0, "chart": None}
    RefusedRequests.objects.create(user_id=USER_ID, day=timezone.now().date(), limited=1200, other=3)
    page = support.get(f"{PERSON}change/")
    assert page.context["refused"]["chart"].bars[-1].label.endswith("1,203")
    assert "<b>1,200</b> over a limit" in page.content.decode()
