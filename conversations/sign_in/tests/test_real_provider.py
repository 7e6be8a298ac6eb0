"""Single sign-on with a real, certified provider in a process of its own."""

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from django.contrib.auth.models import User
from django.test import Client

from conversations.admin.tests.factories import make_staff
from conversations.models.staff import StaffIdentity
from tests.sign_in.provider import CLIENT_ID, CLIENT_SECRET, running_provider, sign_in_there, why_missing

pytestmark = [
    pytest.mark.slow,
    pytest.mark.django_db,
    pytest.mark.skipif(why_missing() is not None, reason=why_missing() or "-"),
]
START = "/admin/oidc/start/"


@pytest.fixture(scope="module", params=[False, True], ids=["claims in the user info", "claims in the ID token"])
def issuer(request: pytest.FixtureRequest) -> Iterator[str]:
    with running_provider("http://testserver", all_claims=request.param) as running:
        yield running


@pytest.fixture(autouse=True)
def _real(single_sign_on: Any, issuer: str) -> None:
    single_sign_on.ADMIN_OIDC_ISSUER = issuer
    single_sign_on.ADMIN_OIDC_CLIENT_ID = CLIENT_ID
    single_sign_on.ADMIN_OIDC_CLIENT_SECRET = CLIENT_SECRET


def sign_in(client: Client, who: str) -> Any:
    came_back = urlsplit(sign_in_there(client.get(START)["Location"], who))
    assert came_back.netloc == "testserver"
    return client.get(came_back.path, dict(parse_qsl(came_back.query)))


def test_staff_get_in_with_their_groups(client: Client) -> None:
    assert sign_in(client, "lea")["Location"] == "/admin/"
    user = User.objects.get()
    assert (user.username, user.email, user.first_name) == ("lea", "lea@example.com", "Lea Lead")
    assert sorted(user.groups.values_list("name", flat=True)) == ["auditors", "leads"]
    assert client.get("/admin/conversations/staffaccess/").status_code == 200
    assert sign_in(Client(), "lea").status_code == 302
    assert StaffIdentity.objects.get().subject == "lea"


def test_others_do_not(client: Client) -> None:
    assert sign_in(client, "bo").status_code == 403
    assert not User.objects.exists()


def test_an_unverified_address_is_nobody_s(client: Client) -> None:
    sue = make_staff("sue", "leads", password="a long password")
    User.objects.filter(pk=sue.pk).update(email="sue@example.com")
    assert sign_in(client, "mal").status_code == 302
    assert StaffIdentity.objects.get().user.pk != sue.pk


def test_the_provider_refuses_a_code_of_another_sign_in(client: Client) -> None:
    mine = urlsplit(sign_in_there(client.get(START)["Location"], "ada"))
    other = Client()
    theirs = urlsplit(sign_in_there(other.get(START)["Location"], "lea"))
    mixed = {**dict(parse_qsl(mine.query)), "code": dict(parse_qsl(theirs.query))["code"]}
    # Its PKCE verifier is in the other browser's session.
    assert client.get(mine.path, mixed).status_code == 403
    assert not User.objects.exists()


def test_a_secret_that_is_wrong_is_no_sign_in(client: Client, settings: Any) -> None:
    settings.ADMIN_OIDC_CLIENT_SECRET = "only-for-tests: another"
    assert sign_in(client, "ada").status_code == 403


def test_signing_out_leads_to_the_provider(client: Client, issuer: str) -> None:
    sign_in(client, "ada")
    page = client.post("/admin/logout/").content.decode()
    (address,) = re.findall(r'href="([^"]+/session/end[^"]+)"', page)
    assert address.startswith(f"{issuer}/session/end?client_id=chat-admin&amp;post_logout_redirect_uri=")
