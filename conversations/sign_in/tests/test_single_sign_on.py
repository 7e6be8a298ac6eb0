"""Single sign-on: the way to the provider and back, who gets in, and as whom."""

from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client

from chatapi.environment import Rate
from conversations.admin.tests.factories import make_staff
from conversations.models import StaffAccess
from conversations.models.staff import StaffIdentity

from .scripted_provider import CALLBACK, ISSUER, START, Provider

pytestmark = pytest.mark.django_db
DAY_S = 86_400
VERIFIED = {"email": "ada@example.com", "email_verified": True, "name": "Ada Lovelace", "preferred_username": "ada"}


def groups_of(user: User) -> list[str]:
    return sorted(user.groups.values_list("name", flat=True))


def test_the_browser_takes_state_nonce_and_challenge_along(client: Client, provider: Provider) -> None:
    taken = provider.begin(client)
    assert taken["response_type"] == "code"
    assert taken["scope"] == "openid email profile"
    assert taken["redirect_uri"] == f"http://testserver{CALLBACK}"
    assert taken["code_challenge_method"] == "S256"
    assert min(map(len, (taken["state"], taken["nonce"], taken["code_challenge"]))) >= 32
    assert provider.begin(client)["state"] != taken["state"]


def test_a_member_of_a_named_group_gets_in(client: Client, provider: Provider) -> None:
    provider.claims |= {**VERIFIED, "groups": ["cooks", "chat-support", "chat-audit"]}
    answer = provider.come_back(client)
    assert (answer.status_code, answer["Location"]) == (302, "/admin/")
    user = User.objects.get()
    assert (user.username, user.email, user.first_name) == ("ada", "ada@example.com", "Ada Lovelace")
    assert (user.is_staff, user.is_superuser, user.has_usable_password()) == (True, False, False)
    assert groups_of(user) == ["auditors", "support"]
    assert client.get("/admin/conversations/conversation/").status_code == 200
    assert StaffAccess.objects.filter(kind="signed_in", staff_name="ada", search="single sign-on").count() == 1
    assert provider.sent_form()["code_verifier"]
    assert provider.asked[-2].headers["Authorization"].startswith("Basic ")


def test_the_page_that_was_wanted_comes_after_it(client: Client, provider: Provider) -> None:
    wanted = "/admin/conversations/chatuser/?q=a"
    state = provider.begin(client)["state"]
    assert client.get(CALLBACK, {"code": "a", "state": state})["Location"] == "/admin/"
    for page, after in ((wanted, wanted), ("https://evil.example/", "/admin/"), ("//evil.example/", "/admin/")):
        other = Client()
        answer = other.get(START, {"next": page})
        state = answer["Location"].split("state=")[1].split("&")[0]
        provider.nonce = answer["Location"].split("nonce=")[1].split("&")[0]
        assert other.get(CALLBACK, {"code": "a", "state": state})["Location"] == after


def test_groups_follow_the_provider_at_each_sign_in(client: Client, provider: Provider) -> None:
    provider.claims["groups"] = ["chat-admins"]
    provider.come_back(client)
    assert User.objects.get().is_superuser
    provider.claims["groups"] = ["chat-leads"]
    provider.come_back(Client())
    user = User.objects.get()
    assert (user.is_superuser, groups_of(user)) == (False, ["leads"])


def test_who_is_in_no_named_group_is_refused_and_loses_what_they_had(client: Client, provider: Provider) -> None:
    provider.come_back(client)
    assert client.get("/admin/").status_code == 200
    provider.claims["groups"] = ["cooks"]
    refused = provider.come_back(Client())
    assert refused.status_code == 403
    assert "in none of the groups" in refused.content.decode()
    user = User.objects.get()
    assert (user.is_staff, groups_of(user)) == (False, [])
    # The session of before is worth nothing either.
    assert client.get("/admin/").status_code == 302


@pytest.mark.parametrize(
    "groups", [None, [], "", {}, 7, [["chat-support"]], [{"name": "chat-support"}], "support", ["SUPPORT"]]
)
def test_nothing_else_makes_staff(client: Client, provider: Provider, groups: Any) -> None:
    provider.claims |= {**VERIFIED, "groups": groups}
    assert provider.come_back(client).status_code == 403
    assert not User.objects.exists()


@pytest.mark.parametrize(
    ("name", "claims"),
    [
        ("groups", {"groups": "chat-support"}),
        ("realm_access.roles", {"realm_access": {"roles": ["chat-support"]}}),
        ("https://example.com/roles", {"https://example.com/roles": ["chat-support"]}),
    ],
)
def test_the_operator_names_the_claim(client: Client, provider: Provider, settings: Any, name: str, claims: Any) -> None:
    settings.ADMIN_OIDC_GROUPS_CLAIM = name
    provider.claims = claims
    assert provider.come_back(client).status_code == 302
    assert groups_of(User.objects.get()) == ["support"]


def test_groups_may_come_with_the_user_info(client: Client, provider: Provider) -> None:
    provider.claims = {}
    provider.user_info = {"sub": "ada", "groups": ["chat-leads"], "email": "ada@example.com", "email_verified": True}
    assert provider.come_back(client).status_code == 302
    assert provider.asked[-1].headers["Authorization"] == "Bearer an-access-token"
    user = User.objects.get()
    assert (groups_of(user), user.email) == (["leads"], "ada@example.com")


def test_user_info_of_somebody_else_is_refused(client: Client, provider: Provider) -> None:
    provider.claims = {}
    provider.user_info = {"sub": "eve", "groups": ["chat-leads"]}
    assert provider.come_back(client).status_code == 403
    assert not User.objects.exists()


# --- Accounts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_verified", [False, None, "yes", 1, "false"])
def test_an_unverified_address_leads_to_nobody_s_account(client: Client, provider: Provider, is_verified: Any) -> None:
    sue = make_staff("sue", "leads", password="a long password")
    User.objects.filter(pk=sue.pk).update(email="sue@example.com")
    provider.claims |= {"email": "sue@example.com", "email_verified": is_verified, "preferred_username": "sue"}
    assert provider.come_back(client).status_code == 302
    sue.refresh_from_db()
    assert sue.has_usable_password()
    assert groups_of(sue) == ["leads"]
    made = StaffIdentity.objects.get().user
    assert (made.pk != sue.pk, made.username, made.email) == (True, "sue-2", "")


def test_a_verified_address_takes_an_account_over_and_ends_its_password(client: Client, provider: Provider) -> None:
    sue = make_staff("sue", "leads", password="a long password")
    User.objects.filter(pk=sue.pk).update(email="Sue@example.com")
    before = Client()
    assert before.post("/admin/login/", {"username": "sue", "password": "a long password"}).status_code == 302
    provider.claims |= {"email": "sue@example.com", "email_verified": True}
    assert provider.come_back(client).status_code == 302
    user = User.objects.get()
    assert (user.pk, user.has_usable_password(), groups_of(user)) == (sue.pk, False, ["support"])
    assert before.get("/admin/").status_code == 302
    assert Client().post("/admin/login/", {"username": "sue", "password": "a long password"}).status_code == 200


@pytest.mark.parametrize("kind", ["superuser", "two", "no staff", "somebody else's"])
def test_no_address_leads_to_these_accounts(client: Client, provider: Provider, kind: str) -> None:
    sue = make_staff("sue", superuser=kind == "superuser", password="a long password")
    User.objects.filter(pk=sue.pk).update(email="sue@example.com", is_staff=kind != "no staff")
    if kind == "two":
        make_staff("susan")
        User.objects.filter(username="susan").update(email="sue@example.com")
    if kind == "somebody else's":
        StaffIdentity.objects.create(user=sue, issuer=ISSUER, subject="sue")
    provider.claims |= {"email": "sue@example.com", "email_verified": True}
    assert provider.come_back(client).status_code == 302
    assert StaffIdentity.objects.get(subject="ada").user.pk != sue.pk
    sue.refresh_from_db()
    assert sue.has_usable_password()


def test_the_same_subject_of_another_issuer_is_another_person(client: Client, provider: Provider) -> None:
    other = make_staff("other")
    StaffIdentity.objects.create(user=other, issuer="https://old.example.com", subject="ada")
    assert provider.come_back(client).status_code == 302
    assert StaffIdentity.objects.get(issuer=ISSUER).user.pk != other.pk


def test_a_closed_account_stays_closed(client: Client, provider: Provider) -> None:
    provider.come_back(Client())
    User.objects.update(is_active=False)
    refused = provider.come_back(client)
    assert refused.status_code == 403
    assert "closed" in refused.content.decode()
    assert not User.objects.get().is_active


@pytest.mark.parametrize("login", ["", "a b", "<script>", "x" * 500, "ada\n"])
def test_odd_names_are_not_taken(client: Client, provider: Provider, login: str) -> None:
    provider.claims |= {"preferred_username": login, "name": "N" * 500}
    assert provider.come_back(client).status_code == 302
    assert len(User.objects.get().username) <= 150


def test_a_group_that_does_not_exist_gives_nothing(client: Client, provider: Provider) -> None:
    Group.objects.filter(name="support").delete()
    assert provider.come_back(client).status_code == 403


# --- The way back ------------------------------------------------------------------------------------------------------


def test_a_state_serves_once_and_in_its_own_browser(client: Client, provider: Provider) -> None:
    state = provider.begin(client)["state"]
    stolen = Client().get(CALLBACK, {"code": "a", "state": state})
    assert stolen.status_code == 400
    assert "another browser" in stolen.content.decode()
    assert provider.paths().count("/token") == 0
    assert client.get(CALLBACK, {"code": "a", "state": state}).status_code == 302
    assert client.get(CALLBACK, {"code": "a", "state": state}).status_code == 400


def test_a_sign_in_expires(client: Client, provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    state = provider.begin(client)["state"]
    monkeypatch.setattr("conversations.sign_in.single_sign_on.PATIENCE_S", -1)
    assert client.get(CALLBACK, {"code": "a", "state": state}).status_code == 400


@pytest.mark.parametrize("query", [{}, {"code": "a"}, {"state": "x"}, {"error": "access_denied"}, {"error": "x", "state": "x"}])
def test_without_its_state_nothing_happens(client: Client, provider: Provider, query: Any) -> None:
    provider.come_back(client)
    assert client.get(CALLBACK, query).status_code == 400
    # Nobody can sign another person out with a link either.
    assert client.get("/admin/").status_code == 200


@pytest.mark.parametrize(("issuer", "status"), [(ISSUER, 302), ("https://evil.example.com", 403), ("", 403)])
def test_a_provider_that_names_itself_must_be_this_one(client: Client, provider: Provider, issuer: str, status: int) -> None:
    state = provider.begin(client)["state"]
    assert client.get(CALLBACK, {"code": "a", "state": state, "iss": issuer}).status_code == status
    assert provider.paths().count("/token") == (status == 302)


def test_a_password_after_an_unfinished_beginning_is_a_whole_session(client: Client, provider: Provider) -> None:
    make_staff("sue", "support", password="a long password")
    provider.begin(client)
    assert client.session.get_expiry_age() <= 15 * 60
    assert client.post("/admin/login/", {"username": "sue", "password": "a long password"}).status_code == 302
    assert client.session.get_expiry_age() > 3600


def test_what_the_provider_says_is_not_repeated(client: Client, provider: Provider) -> None:
    state = provider.begin(client)["state"]
    error = {"error": "access_denied", "error_description": "<b>hunter2</b>", "state": state}
    refused = client.get(CALLBACK, error)
    assert refused.status_code == 403
    assert "cancelled or denied" in refused.content.decode()
    assert "hunter2" not in refused.content.decode()
    assert client.get(CALLBACK, {"code": "a", "state": state}).status_code == 400


def test_beginnings_are_limited_and_successes_count_for_nothing(client: Client, provider: Provider, settings: Any) -> None:
    settings.THROTTLE_LOGIN = Rate(3, DAY_S)
    for _ in range(6):
        assert provider.come_back(Client()).status_code == 302
    for _ in range(3):
        provider.begin(Client())
    refused = Client().get(START)
    assert refused.status_code == 429
    assert int(refused["Retry-After"]) > 0
    assert Client().get(START, REMOTE_ADDR="198.51.100.1").status_code == 302


def test_a_form_can_not_bring_a_code(client: Client, provider: Provider) -> None:
    form = {"username": "sue", "password": "wrong"}
    assert client.post("/admin/login/?code=a&state=b", form).status_code == 200
    assert provider.asked == []


def test_off_means_off(client: Client) -> None:
    assert client.get(START).status_code == 404
    assert client.get(CALLBACK, {"code": "a", "state": "b"}).status_code == 404
    assert "single sign-on" not in client.get("/admin/login/").content.decode()


# --- Passwords and sign-out --------------------------------------------------------------------------------------------


def test_passwords_can_be_switched_off(client: Client, provider: Provider, settings: Any) -> None:
    settings.ADMIN_PASSWORDS = False
    make_staff("root", superuser=True, password="a long password")
    page = client.get("/admin/login/").content.decode()
    assert "Sign in with single sign-on" in page
    assert 'name="password"' not in page
    assert client.post("/admin/login/", {"username": "root", "password": "a long password"}).status_code == 403
    assert client.get("/admin/").status_code == 302
    assert provider.come_back(client).status_code == 302


def test_who_signs_out_can_sign_out_at_the_provider_too(client: Client, provider: Provider) -> None:
    provider.come_back(client)
    page = client.post("/admin/logout/").content.decode()
    assert f"{ISSUER}/end?client_id=chat-admin&amp;post_logout_redirect_uri=http%3A%2F%2Ftestserver%2Fadmin%2Flogin%2F" in page
    assert client.get("/admin/").status_code == 302
    assert StaffAccess.objects.filter(kind="signed_out").count() == 1


def test_who_signed_in_with_a_password_is_sent_nowhere(client: Client, provider: Provider) -> None:
    provider.come_back(Client())
    client.force_login(make_staff("sue", "support"))
    assert ISSUER not in client.post("/admin/logout/").content.decode()
