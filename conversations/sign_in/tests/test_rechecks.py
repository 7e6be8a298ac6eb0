"""How long staff of the identity provider go on before their groups are read again."""

from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from django.contrib.auth.models import User
from django.test import Client

from conversations.admin.tests.factories import make_staff
from conversations.models import StaffAccess
from conversations.sign_in.rechecks import FORMS_LAST_S, VOUCHED_AT

from .scripted_provider import CALLBACK, ISSUER, START, Provider

pytestmark = pytest.mark.django_db
PAGE = "/admin/conversations/chatuser/?q=a"
LASTS_S = 60 * 60


@pytest.fixture
def ada(client: Client, provider: Provider) -> Client:
    provider.claims["groups"] = ["chat-leads"]
    provider.come_back(client)
    return client


def age(client: Client, seconds: float) -> None:
    """Let this much time pass since the provider vouched."""
    session = client.session
    session[VOUCHED_AT] -= int(seconds)
    session.save()


def come_back(client: Client, provider: Provider, response: Any) -> Any:
    """Follow a redirect to the provider and back, as a browser does whose session there lives."""
    assert response["Location"].startswith(START), response["Location"]
    taken = dict(parse_qsl(urlsplit(client.get(response["Location"])["Location"]).query))
    provider.nonce = taken["nonce"]
    return client.get(CALLBACK, {"code": "a-code", "state": taken["state"]})


def test_until_then_nobody_is_asked(ada: Client, provider: Provider) -> None:
    age(ada, LASTS_S - 60)
    asked = len(provider.asked)
    assert ada.get(PAGE).status_code == 200
    assert len(provider.asked) == asked


def test_then_the_next_page_leads_there_and_back(ada: Client, provider: Provider) -> None:
    age(ada, LASTS_S)
    provider.claims["groups"] = ["chat-support"]
    key = ada.session.session_key
    led = ada.get(PAGE)
    assert led.status_code == 302
    returned = come_back(ada, provider, led)
    assert (returned.status_code, returned["Location"]) == (302, PAGE)
    assert ada.get(PAGE).status_code == 200
    assert [group.name for group in User.objects.get().groups.all()] == ["support"]
    # The same session goes on, so forms in other tabs do, too; and it is one sign-in.
    assert ada.session.session_key == key
    assert StaffAccess.objects.filter(kind="signed_in").count() == 1


def test_who_lost_the_groups_gets_no_further(ada: Client, provider: Provider) -> None:
    age(ada, LASTS_S)
    provider.claims["groups"] = ["cooks"]
    assert come_back(ada, provider, ada.get(PAGE)).status_code == 403
    assert not User.objects.get().is_staff
    assert ada.get(PAGE)["Location"].startswith("/admin/login/")


def test_who_is_refused_there_gets_no_further(ada: Client, provider: Provider) -> None:
    age(ada, LASTS_S)
    taken = dict(parse_qsl(urlsplit(ada.get(ada.get(PAGE)["Location"])["Location"]).query))
    assert ada.get(CALLBACK, {"error": "login_required", "state": taken["state"]}).status_code == 403
    assert ada.get(PAGE)["Location"].startswith(START)


@pytest.mark.parametrize("page", ["/admin/sessions/", "/admin/", "/admin/conversations/conversation/"])
def test_no_page_is_left_out(ada: Client, page: str) -> None:
    age(ada, LASTS_S)
    assert ada.get(page)["Location"].startswith(START)


def test_what_an_open_page_sends_has_a_little_longer(ada: Client) -> None:
    script = {"Sec-Fetch-Mode": "cors"}
    age(ada, LASTS_S + FORMS_LAST_S - 60)
    assert ada.post("/admin/sessions/", {"action": "end_others"}).status_code == 302
    assert ada.get(PAGE, headers=script).status_code == 200
    age(ada, 60)
    refused = ada.post("/admin/sessions/", {"action": "end_others"})
    assert refused.status_code == 403
    assert "was not saved" in refused.content.decode()
    assert ada.get(PAGE, headers=script).status_code == 403


def test_signing_out_always_works(ada: Client) -> None:
    age(ada, 10 * LASTS_S)
    assert ada.post("/admin/logout/").status_code == 200
    assert "_auth_user_id" not in ada.session


def test_a_session_of_the_version_before_is_checked_at_once(ada: Client, provider: Provider) -> None:
    session = ada.session
    del session[VOUCHED_AT]
    session.save()
    assert come_back(ada, provider, ada.get(PAGE))["Location"] == PAGE
    assert ada.get(PAGE).status_code == 200


def test_the_operator_says_how_long(ada: Client, settings: Any) -> None:
    settings.ADMIN_OIDC_RECHECK_MINUTES = 5
    age(ada, 301)
    assert ada.get(PAGE)["Location"].startswith(START)


def test_sessions_with_a_password_are_not_concerned(client: Client, provider: Provider) -> None:
    client.force_login(make_staff("root", superuser=True))
    assert client.get(PAGE).status_code == 200


def test_the_provider_is_named_by_the_operator_alone(ada: Client) -> None:
    age(ada, LASTS_S)
    led = ada.get("/admin/conversations/chatuser/?next=https://evil.example")
    assert ada.get(led["Location"])["Location"].startswith(f"{ISSUER}/authorize?")
