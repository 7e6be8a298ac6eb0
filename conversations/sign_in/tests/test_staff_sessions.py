"""Sessions of staff: listed, and ended."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.core.cache import cache
from django.test import Client

from conversations.admin.tests.factories import make_staff
from conversations.models import StaffAccess
from conversations.models.staff import StaffSession
from conversations.sign_in.devices import describe_device
from conversations.sign_in.second_factor import begin_enrolment
from conversations.sign_in.staff_sessions import list_sessions

pytestmark = pytest.mark.django_db

PAGE = "/admin/sessions/"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


def sign_in(name: str, address: str = "192.0.2.7", device: str = FIREFOX) -> Client:
    client = Client(REMOTE_ADDR=address, HTTP_USER_AGENT=device)
    assert client.post("/admin/login/", {"username": name, "password": "a long password"}).status_code == 302
    assert client.get("/admin/").status_code == 200
    return client


def is_signed_in(client: Client) -> bool:
    return client.get("/admin/").status_code == 200


@pytest.fixture
def sue(db: None) -> User:
    return make_staff("sue", "support", password="a long password")


@pytest.fixture
def lea(db: None) -> User:
    return make_staff("lea", "leads", password="a long password")


def test_own_sessions_are_listed(sue: User) -> None:
    sign_in("sue", "2001:db8::17", "curl/8")
    here = sign_in("sue")
    page = here.get(PAGE)
    shown = [(one.device, one.address, one.method) for one in page.context["own"]]
    assert shown == [(FIREFOX, "192.0.2.7", "password"), ("curl/8", "2001:db8::17", "password")]
    assert page.content.decode().count("this one") == 1
    assert page.context["others"] is None


@pytest.mark.parametrize(
    ("user_agent", "shown"),
    [
        (FIREFOX, "Firefox on Linux"),
        (
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/142.0 Safari/537.36 Edg/142.0",
            "Edge on Windows",
        ),
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 Version/18.0 Safari/604.1",
            "Safari on iPhone",
        ),
        (
            "Mozilla/5.0 (Linux; Android 15) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0 Mobile Safari/537.36",
            "Chrome on Android",
        ),
        ("curl/8", "curl/8"),
        ("", "unknown"),
        ("x" * 300, "x" * 60),
    ],
    ids=["Firefox", "Edge", "Safari", "Chrome", "curl", "nothing", "long"],
)
def test_devices_have_names_that_people_know(user_agent: str, shown: str) -> None:
    assert describe_device(user_agent) == shown


def test_a_session_is_noted_once_a_minute(sue: User, monkeypatch: pytest.MonkeyPatch) -> None:
    # However slow the machine is.
    monkeypatch.setattr("conversations.sign_in.staff_sessions.NOTED_EVERY_S", 3600)
    client = sign_in("sue")
    seen_at = StaffSession.objects.get().seen_at
    client.get("/admin/")
    assert StaffSession.objects.get().seen_at == seen_at
    # As after a minute.
    cache.clear()
    client.get("/admin/", REMOTE_ADDR="192.0.2.8")
    again = StaffSession.objects.get()
    assert again.seen_at > seen_at
    assert again.address == "192.0.2.8"


def test_an_own_session_can_be_ended(sue: User) -> None:
    other, here = sign_in("sue"), sign_in("sue")
    row = StaffSession.objects.get(session_key=other.session.session_key)
    assert here.post(PAGE, {"action": "end", "id": row.pk}, follow=True).status_code == 200
    assert not is_signed_in(other)
    assert is_signed_in(here)
    assert StaffAccess.objects.get(kind="ended").search == "1 of their own"


def test_all_others_can_be_ended(sue: User) -> None:
    others, here = [sign_in("sue") for _ in range(3)], sign_in("sue")
    here.post(PAGE, {"action": "end_others"})
    assert [is_signed_in(one) for one in (*others, here)] == [False, False, False, True]


def test_a_new_password_ends_all_others(sue: User) -> None:
    other, here = sign_in("sue"), sign_in("sue")
    form = {"old_password": "a long password", "new_password1": "another long one", "new_password2": "another long one"}
    assert here.post("/admin/password_change/", form).status_code == 302
    assert not is_signed_in(other)
    assert is_signed_in(here)
    assert len(here.get(PAGE).context["own"]) == 1


def test_a_password_that_a_superuser_sets_ends_all(sue: User) -> None:
    client = sign_in("sue")
    sue.set_password("another long one")
    sue.save()
    assert not is_signed_in(client)
    assert list_sessions(sue) == []


def test_leads_see_and_end_those_of_others(sue: User, lea: User) -> None:
    theirs, more, here = sign_in("sue"), sign_in("sue"), sign_in("lea")
    page = here.get(PAGE)
    assert {one.user.username for one in page.context["others"]} == {"sue"}
    row = StaffSession.objects.get(session_key=theirs.session.session_key)
    here.post(PAGE, {"action": "end", "id": row.pk})
    assert [is_signed_in(one) for one in (theirs, more)] == [False, True]
    here.post(PAGE, {"action": "end_all", "id": sue.pk})
    assert not is_signed_in(more)
    acts = list(StaffAccess.objects.filter(kind="ended").values_list("staff_name", "search"))
    assert acts == [("lea", "1 of sue"), ("lea", "1 of sue")]


def test_others_may_not(sue: User, lea: User) -> None:
    theirs, here = sign_in("lea"), sign_in("sue")
    row = StaffSession.objects.get(user=lea)
    for form in ({"action": "end", "id": row.pk}, {"action": "end_all", "id": lea.pk}, {"action": "reset", "id": lea.pk}):
        assert here.post(PAGE, form).status_code == 403
    assert is_signed_in(theirs)


@pytest.mark.parametrize("form", [{}, {"action": "x"}, {"action": "end_all", "id": "0"}, {"action": "reset", "id": "\x00"}])
def test_odd_forms_change_nothing(lea: User, form: dict[str, Any]) -> None:
    assert sign_in("lea").post(PAGE, form).status_code == 403


@pytest.mark.parametrize("wanted", ["", "x", "0", "-1", "9" * 30, "1" * 18])
def test_a_session_that_is_gone_is_said(lea: User, wanted: str) -> None:
    page = sign_in("lea").post(PAGE, {"action": "end", "id": wanted}, follow=True)
    assert "has ended already" in page.content.decode()


def test_a_second_factor_is_reset_for_a_colleague(sue: User, lea: User) -> None:
    here, theirs = sign_in("lea"), sign_in("sue")
    begin_enrolment(sue)
    sue.totpdevice_set.update(confirmed=True)
    assert [one.username for one in here.get(PAGE).context["with_factor"]] == ["sue"]
    here.post(PAGE, {"action": "reset", "id": sue.pk})
    assert not sue.totpdevice_set.exists()
    assert not is_signed_in(theirs)
    assert StaffAccess.objects.get(kind="factor").search == "reset that of sue"


def test_leads_do_not_reset_that_of_a_superuser_or_their_own(lea: User) -> None:
    root = make_staff("root", superuser=True)
    here = sign_in("lea")
    for colleague in (root, lea):
        assert here.post(PAGE, {"action": "reset", "id": colleague.pk}).status_code == 403


def test_ended_sessions_are_forgotten(sue: User) -> None:
    sign_in("sue")
    here = sign_in("sue")
    Session.objects.exclude(session_key=here.session.session_key).delete()
    here.get(PAGE)
    assert StaffSession.objects.count() == 1
    Session.objects.all().delete()
    sign_in("sue")
    assert StaffSession.objects.count() == 1


def test_signing_out_is_recorded(sue: User) -> None:
    sign_in("sue").post("/admin/logout/")
    acts = StaffAccess.objects.order_by("id").values_list("kind", "search", "address")
    assert list(acts) == [("signed_in", "password", "192.0.2.7"), ("signed_out", "password", "192.0.2.7")]
