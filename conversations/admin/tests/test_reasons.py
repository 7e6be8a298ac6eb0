"""What the record says of each access: from which address, and what for."""

import csv
import io
import json
from typing import Any

import pytest
from django.test import Client

from conversations.models import StaffAccess
from conversations.services.history.erase import erase_user
from conversations.tests.factories import USER_ID, make_conversation

from .factories import make_chat_user, make_staff

pytestmark = pytest.mark.django_db

LIST = "/admin/conversations/conversation/"
LOG = "/admin/conversations/staffaccess/"
REASON = "/admin/reason/"
ABOUT_USERS = [
    LIST,
    f"{LIST}find/?q=tea",
    f"{LIST}feedback/",
    f"{LIST}failures/",
    f"{LIST}{{id}}/change/",
    f"{LIST}{{id}}/delete/",
    "/admin/conversations/chatuser/",
    f"/admin/conversations/chatuser/{USER_ID}/change/",
    "/admin/conversations/userquota/",
    "/admin/conversations/userquota/near/",
]


@pytest.fixture
def required(settings: Any) -> None:
    settings.ADMIN_REASON = "required"


def test_the_address_is_recorded(support: Client) -> None:
    support.get(f"{LIST}{make_conversation().pk}/change/", REMOTE_ADDR="2001:db8::17")
    noted = StaffAccess.objects.get()
    assert (noted.address, noted.reason) == ("2001:db8::17", "")


@pytest.mark.parametrize("page", ABOUT_USERS)
@pytest.mark.usefixtures("required")
def test_nothing_of_users_is_shown_without_a_reason(superuser: Client, page: str) -> None:
    conversation = make_conversation(title="A secret title")
    answer = superuser.get(page.format(id=conversation.pk))
    assert answer.templates[0].name == "admin/conversations/reason.html"
    assert "A secret title" not in answer.content.decode()
    assert not StaffAccess.objects.exists()


@pytest.mark.usefixtures("required")
def test_nothing_is_done_without_a_reason(superuser: Client) -> None:
    conversation = make_conversation()
    superuser.post(f"{LIST}{conversation.pk}/delete/", {"confirmed": "yes"})
    export = {"action": "export_as_csv", "_selected_action": str(conversation.pk)}
    assert not superuser.post(LIST, export).streaming
    conversation.refresh_from_db()
    assert not StaffAccess.objects.exists()


@pytest.mark.parametrize("page", ["/admin/", f"{LIST}dashboard/", LOG, "/admin/conversations/assistant/"])
@pytest.mark.usefixtures("required")
def test_pages_without_users_need_none(superuser: Client, page: str) -> None:
    assert superuser.get(page).templates[0].name != "admin/conversations/reason.html"


@pytest.mark.usefixtures("required")
def test_a_reason_is_kept_for_the_session_and_recorded(support: Client) -> None:
    page = f"{LIST}{make_conversation().pk}/change/"
    answer = support.post(REASON, {"reason": " Ticket\x00  4711 ", "next": page})
    assert (answer.status_code, answer["Location"]) == (302, page)
    assert "For: Ticket 4711" in support.get(page).content.decode()
    support.get(LIST)
    support.post(REASON, {"reason": "Ticket 12", "next": page})
    support.get(page)
    noted = list(StaffAccess.objects.order_by("id").values_list("kind", "reason"))
    assert noted == [("read", "Ticket 4711"), ("listed", "Ticket 4711"), ("read", "Ticket 12")]


@pytest.mark.parametrize("reason", ["", "  ", "x", "\x00"])
@pytest.mark.usefixtures("required")
def test_an_empty_reason_is_none(support: Client, reason: str) -> None:
    assert support.post(REASON, {"reason": reason, "next": LIST}).status_code == 200
    assert support.get(LIST).templates[0].name == "admin/conversations/reason.html"


@pytest.mark.parametrize("page", ["https://evil.example/", "//evil.example/", "javascript:alert(1)", ""])
@pytest.mark.usefixtures("required")
def test_the_page_after_it_is_one_of_ours(support: Client, page: str) -> None:
    assert support.post(REASON, {"reason": "Ticket 1", "next": page})["Location"] == "/admin/"


@pytest.mark.usefixtures("required")
def test_staff_without_permissions_are_refused_even_with_a_reason(client: Client) -> None:
    client.force_login(make_staff("norman"))
    client.post(REASON, {"reason": "Curiosity", "next": LIST})
    assert client.get(LIST).status_code == 403


def test_an_optional_reason_is_offered(support: Client, settings: Any) -> None:
    assert "For:" not in support.get(LIST).content.decode()
    settings.ADMIN_REASON = "optional"
    assert "For: no reason stated" in support.get(LIST).content.decode()


def test_auditors_export_the_record_and_that_is_recorded(support: Client) -> None:
    make_chat_user()
    support.get(LIST, {"q": "=HYPERLINK(1)"})
    support.get(f"{LIST}{make_conversation().pk}/change/", REMOTE_ADDR="192.0.2.7")
    auditor = Client()
    auditor.force_login(make_staff("audrey", "auditors"))
    ids = [str(row_id) for row_id in StaffAccess.objects.values_list("pk", flat=True)]
    answer = auditor.post(LOG, {"action": "export_access", "_selected_action": ids})
    rows = list(csv.DictReader(io.StringIO(answer.getvalue().decode(), newline="")))
    assert (rows[0]["staff_name"], rows[0]["kind"], rows[0]["address"]) == ("sue", "read", "192.0.2.7")
    assert rows[1]["search"] == "'=HYPERLINK(1)"
    answer = auditor.post(LOG, {"action": "export_access_as_jsonl", "_selected_action": ids})
    lines = [json.loads(line) for line in answer.getvalue().splitlines()]
    assert [line["kind"] for line in lines] == ["read", "listed"]
    assert lines[1]["search"] == "=HYPERLINK(1)"
    StaffAccess.objects.latest("id").delete()
    assert StaffAccess.objects.filter(staff_name="audrey", kind="exported", search="access by staff").count() == 1


def test_all_records_are_exported_in_batches(superuser: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("conversations.services.staff.access.BATCH", 3)
    StaffAccess.objects.bulk_create(StaffAccess(staff_name=f"s{n}", kind="read", conversation_id=USER_ID) for n in range(8))
    selection = {"action": "export_access", "_selected_action": "1", "select_across": "1", "index": "0"}
    names = [row.split(",")[1] for row in superuser.post(LOG, selection).getvalue().decode().splitlines()[1:]]
    assert names[-8:] == [f"s{n}" for n in reversed(range(8))]


def test_erasing_a_user_blanks_reasons_that_name_them(support: Client) -> None:
    make_chat_user()
    for reason in ("Mail of Ada@example.com", "Ticket 1"):
        StaffAccess.objects.create(staff_name="sue", kind="read", conversation_id=USER_ID, reason=reason)
    erase_user(user_id=USER_ID)
    assert set(StaffAccess.objects.values_list("reason", flat=True)) == {"(erased)", "Ticket 1"}
