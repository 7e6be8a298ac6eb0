"""What an earlier SECRET_KEY signed stays valid while SECRET_KEY_FALLBACKS names that key, and no longer."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.models import User
from django.test import Client
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request
from rest_framework.test import APIRequestFactory

from chatapi.cache.sealed_values import ABSENT, seal, unseal
from conversations.surfaces.api.tickets import TicketAuthentication, issue_ticket
from conversations.tests.factories import USER_ID

OLD, NEW = "the-old-key-" + "o" * 40, "the-new-key-" + "n" * 40
REPLY_ID = UUID(int=7)
ChangeKey = Callable[..., None]


@pytest.fixture
def change_key(settings: Any) -> ChangeKey:
    """Begin with the old key; a call changes to the new one, with these earlier ones."""
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = OLD, []

    def change(*earlier: str) -> None:
        settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = NEW, list(earlier)

    return change


def test_values_in_the_shared_cache(change_key: ChangeKey) -> None:
    stored = seal("key", {"id": 1}, 60)
    assert isinstance(stored, bytes)
    change_key()
    assert unseal("key", stored) is ABSENT
    change_key("another-key", OLD)
    assert unseal("key", stored) == {"id": 1}
    assert unseal("another key", stored) is ABSENT


def test_new_values_are_sealed_with_the_new_key(change_key: ChangeKey, settings: Any) -> None:
    change_key(OLD)
    stored = seal("key", "value", 60)
    assert isinstance(stored, bytes)
    change_key()
    assert unseal("key", stored) == "value"
    settings.SECRET_KEY = OLD
    assert unseal("key", stored) is ABSENT


def _follow(ticket: str) -> Any:
    request = Request(
        APIRequestFactory().get("/", {"ticket": ticket}), parser_context={"kwargs": {"message_id": str(REPLY_ID)}}
    )
    return TicketAuthentication().authenticate(request)


def test_tickets_of_streams(change_key: ChangeKey) -> None:
    ticket = issue_ticket(USER_ID, REPLY_ID)
    change_key(OLD)
    caller, _ = _follow(ticket)
    assert caller.id == USER_ID
    change_key()
    with pytest.raises(AuthenticationFailed):
        _follow(ticket)


@pytest.mark.django_db
def test_staff_stay_signed_in(change_key: ChangeKey) -> None:
    staff, other = Client(), Client()
    root = User.objects.create_superuser("root")
    for client in (staff, other):
        client.force_login(root)
    change_key(OLD)
    assert staff.get("/admin/").status_code == 200
    # Their session is signed anew, so it outlives the earlier key.
    change_key()
    assert staff.get("/admin/").status_code == 200
    assert other.get("/admin/").status_code == 302
