"""Staff with the permission place, change and release legal holds; each act is recorded, and deletions say what they spared."""

import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from conversations.models import Conversation, StaffAccess
from conversations.models.holds import LegalHold
from conversations.models.staff import NO_CONVERSATION
from conversations.services.history.holds import place_hold
from conversations.tests.factories import USER_ID, make_conversation

from .factories import make_chat_user, make_staff

pytestmark = pytest.mark.django_db
LIST = "/admin/conversations/legalhold/"
CONVERSATIONS = "/admin/conversations/conversation/"


@pytest.fixture
def lead(db: None) -> Client:
    client = Client()
    client.force_login(make_staff("lea", "leads"))
    return client


def place(client: Client, **fields: str) -> Any:
    return client.post(f"{LIST}add/", {"reason": "file 12", "ends_at": "", **fields})


def acts() -> list[Any]:
    return list(
        StaffAccess.objects.filter(kind__in=("held", "released"))
        .order_by("id")
        .values_list("staff_name", "kind", "conversation_id", "user_id")
    )


def test_a_lead_holds_a_user_by_address_and_releases(lead: Client) -> None:
    make_chat_user()
    assert place(lead, user="ADA@example.com").status_code == 302
    held = LegalHold.objects.get()
    assert (held.user_id, held.conversation_id, held.reason, held.placed_by) == (USER_ID, None, "file 12", "lea")
    page = lead.get(LIST).content.decode()
    assert "ada@example.com" in page and "file 12" in page and "in force" in page and "no end" in page
    assert "On hold (the user)" in lead.get(f"/admin/conversations/chatuser/{USER_ID}/change/").content.decode()
    answer = lead.post(LIST, {"action": "release_selection", "_selected_action": [str(held.pk)]}, follow=True)
    assert "Released: 1" in answer.content.decode()
    held.refresh_from_db()
    assert (held.released_by, held.is_in_force) == ("lea", False)
    assert "file 12" not in lead.get(LIST).content.decode()
    assert "released by lea" in lead.get(f"{LIST}?state=ended").content.decode()
    assert acts() == [("lea", "held", NO_CONVERSATION, USER_ID), ("lea", "released", NO_CONVERSATION, USER_ID)]


def test_a_lead_holds_a_conversation_until_a_time_that_can_be_changed(lead: Client) -> None:
    kept = make_conversation()
    until = timezone.now() + timedelta(days=30)
    assert place(lead, conversation=str(kept.pk), ends_at=f"{until:%Y-%m-%dT%H:%M}").status_code == 302
    held = LegalHold.objects.get()
    assert held.ends_at is not None
    assert "On hold" in lead.get(f"{CONVERSATIONS}{kept.pk}/change/").content.decode()
    assert lead.post(f"{LIST}{held.pk}/change/", {"ends_at": ""}).status_code == 302
    held.refresh_from_db()
    assert (held.ends_at, held.reason) == (None, "file 12")
    assert acts() == [("lea", "held", kept.pk, None)] * 2
    # What is over stays as it was.
    LegalHold.objects.update(ends_at=timezone.now() - timedelta(days=1))
    assert lead.post(f"{LIST}{held.pk}/change/", {"ends_at": ""}).status_code == 403


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"user": str(USER_ID), "conversation": str(uuid.UUID(int=1))},
        {"user": "nobody@example.com"},
        {"user": str(uuid.UUID(int=1))},
        {"conversation": str(uuid.UUID(int=1))},
        {"conversation": "x\x00"},
        {"user": str(USER_ID), "reason": ""},
        {"user": str(USER_ID), "reason": "x" * 501},
        {"user": str(USER_ID), "ends_at": "2001-01-01T00:00"},
        {"user": str(USER_ID), "ends_at": "soon"},
    ],
    ids=["nothing", "both", "unknown address", "unknown user", "unknown chat", "no id", "no reason", "long", "past", "no time"],
)
def test_what_is_wrong_is_said_and_nothing_is_held(lead: Client, fields: dict[str, str]) -> None:
    make_chat_user()
    assert place(lead, **fields).status_code == 200
    assert not LegalHold.objects.exists()


def test_others_neither_see_nor_place_holds(support: Client, operator: Client) -> None:
    kept = make_conversation()
    held = place_hold(reason="file 12", placed_by="root", conversation_id=kept.pk)
    for client in (support, operator):
        assert place(client, conversation=str(kept.pk)).status_code == 403
        assert client.get(LIST).status_code == 403
        assert client.post(LIST, {"action": "release_selection", "_selected_action": [str(held.pk)]}).status_code == 403
        page = client.get(f"{CONVERSATIONS}{kept.pk}/change/").content.decode()
        assert "file 12" not in page and "On hold" not in page
    held.refresh_from_db()
    assert held.is_in_force


def test_a_hold_can_not_be_removed(superuser: Client) -> None:
    held = place_hold(reason="file 12", placed_by="root", conversation_id=make_conversation().pk)
    assert superuser.post(f"{LIST}{held.pk}/delete/", {"post": "yes"}).status_code == 403
    superuser.post(LIST, {"action": "delete_selected", "_selected_action": [str(held.pk)], "post": "yes"})
    assert LegalHold.objects.count() == 1


@pytest.mark.parametrize("search", ["ada@example.com", str(USER_ID), "file", "nothing", "\x00", ""])
def test_holds_are_found_by_whom_they_are_about_and_by_reason(lead: Client, search: str) -> None:
    make_chat_user()
    place_hold(reason="file 12", placed_by="root", user_id=USER_ID)
    found = lead.get(LIST, {"q": search}).context["cl"].result_list
    assert len(found) == (0 if search == "nothing" else 1)


def test_staff_s_deletions_spare_and_say_it(operator: Client) -> None:
    kept, doomed = make_conversation(), make_conversation()
    place_hold(reason="file 12", placed_by="root", conversation_id=kept.pk)
    selection = {"action": "delete_selection", "_selected_action": [str(kept.pk), str(doomed.pk)]}
    assert "<strong>1</strong> of them is on hold and will stay" in operator.post(CONVERSATIONS, selection).content.decode()
    page = operator.post(CONVERSATIONS, {**selection, "confirmed": "yes"}, follow=True).content.decode()
    assert "Deleted 1 conversation." in page and "On hold and not deleted: 1." in page
    page = operator.post(f"{CONVERSATIONS}{kept.pk}/delete/", {"confirmed": "yes"}, follow=True).content.decode()
    assert "Deleted" not in page and "On hold and not deleted: 1." in page
    assert list(Conversation.objects.all()) == [kept]
    assert list(StaffAccess.objects.filter(kind="deleted").values_list("conversation_id", flat=True)) == [doomed.pk]


def test_the_list_costs_the_same_for_many(lead: Client) -> None:
    LegalHold.objects.bulk_create(
        LegalHold(user_id=uuid.uuid4(), reason=f"file {number}", placed_by="root") for number in range(60)
    )
    with CaptureQueriesContext(connection) as asked:
        assert lead.get(LIST).status_code == 200
    assert len(asked) <= 20
