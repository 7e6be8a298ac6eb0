"""The second factor of those who sign in with a password."""

import time
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django_otp.oath import TOTP
from django_otp.plugins.otp_static.models import StaticToken
from django_otp.plugins.otp_totp.models import TOTPDevice

from chatapi.environment import Rate
from conversations.admin.tests.factories import make_staff
from conversations.models import StaffAccess
from conversations.sign_in import second_factor

pytestmark = pytest.mark.django_db

PAGE, CODE, LIST = "/admin/second-factor/", "/admin/second-factor/code/", "/admin/conversations/conversation/"
DAY_S = 86_400


def code_of(device: TOTPDevice, *, at_s: float | None = None) -> str:
    """Return what the app shows now, or at another time."""
    shown = TOTP(device.bin_key)
    shown.time = time.time() if at_s is None else at_s
    return f"{shown.token():06d}"


def forget_time(device: TOTPDevice) -> None:
    """Let codes of this half minute, and attempts right after a wrong one, count again."""
    TOTPDevice.objects.filter(pk=device.pk).update(last_t=-1, throttling_failure_count=0)


def enrol(client: Client) -> tuple[TOTPDevice, list[str]]:
    """Enrol an app, and return the recovery codes."""
    assert client.post(PAGE, {"action": "begin"}).status_code == 200
    device = TOTPDevice.objects.get(confirmed=False)
    answer = client.post(PAGE, {"action": "confirm", "code": code_of(device)})
    assert answer.context["codes"], answer.context["problem"]
    forget_time(device)
    device.refresh_from_db()
    return device, answer.context["codes"]


def sign_in(name: str = "sue") -> Client:
    client = Client()
    assert client.post("/admin/login/", {"username": name, "password": "a long password"}).status_code == 302
    return client


@pytest.fixture
def sue(db: None) -> User:
    return make_staff("sue", "support", password="a long password")


def test_without_one_the_password_is_enough(sue: User) -> None:
    assert sign_in().get(LIST).status_code == 200


def test_an_enrolled_app_is_asked_for_after_the_password(sue: User) -> None:
    first = sign_in()
    device, _ = enrol(first)
    # The session that has enrolled goes on.
    assert first.get(LIST).status_code == 200
    second = sign_in()
    sent = second.get(LIST)
    assert (sent.status_code, sent["Location"]) == (302, f"{CODE}?next=%2Fadmin%2Fconversations%2Fconversation%2F")
    assert second.post(CODE, {"code": code_of(device), "next": LIST})["Location"] == LIST
    assert second.get(LIST).status_code == 200
    acts = StaffAccess.objects.filter(kind="factor").order_by("id").values_list("search", flat=True)
    assert list(acts) == ["enrolled an app", "gave a code of the app"]


@pytest.mark.parametrize(
    "page", ["/admin/", "/admin/sessions/", PAGE, "/admin/password_change/", "/admin/jsi18n/", "/admin/reason/", f"{LIST}find/"]
)
def test_a_session_without_it_may_do_nothing_else(sue: User, page: str) -> None:
    enrol(sign_in())
    client = sign_in()
    for answer in (client.get(page), client.post(page, {"action": "remove"})):
        assert (answer.status_code, answer["Location"].split("?")[0]) == (302, CODE)
    assert TOTPDevice.objects.filter(confirmed=True).count() == 1
    assert client.post("/admin/logout/").status_code == 200


def test_a_code_serves_once(sue: User) -> None:
    device, _ = enrol(sign_in())
    code = code_of(device)
    assert sign_in().post(CODE, {"code": code}).status_code == 302
    assert sign_in().post(CODE, {"code": code}).status_code == 200


@pytest.mark.parametrize(("steps", "is_taken"), [(-1, True), (0, True), (1, True), (3, False), (-3, False)])
def test_the_clock_of_the_phone_may_be_half_a_minute_off(
    sue: User, steps: int, is_taken: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    device, _ = enrol(sign_in())
    now = time.time()
    monkeypatch.setattr("django_otp.plugins.otp_totp.models.time", SimpleNamespace(time=lambda: now))
    # What the clock of the enrolment taught does not count here.
    TOTPDevice.objects.update(drift=0)
    code = code_of(device, at_s=now + 30 * steps)
    assert (sign_in().post(CODE, {"code": code}).status_code == 302) is is_taken


def test_a_recovery_code_serves_once_in_any_form(sue: User) -> None:
    _, codes = enrol(sign_in())
    assert len(set(codes)) == 10
    client = sign_in()
    assert client.post(CODE, {"code": f" {codes[0].upper().replace('-', ' ')} "}).status_code == 302
    assert client.get(LIST).status_code == 200
    assert sign_in().post(CODE, {"code": codes[0]}).status_code == 200
    assert second_factor.count_recovery_codes(sue) == 9
    assert StaffAccess.objects.filter(search="gave a recovery code").count() == 1


def test_recovery_codes_are_stored_as_hashes(sue: User) -> None:
    _, codes = enrol(sign_in())
    stored = set(StaticToken.objects.values_list("token", flat=True))
    assert not stored & {code.replace("-", "") for code in codes}
    # What a reader of the database finds is of no use as a code.
    assert sign_in().post(CODE, {"code": stored.pop()}).status_code == 200


def test_new_recovery_codes_end_the_earlier_ones(sue: User) -> None:
    client = sign_in()
    _, codes = enrol(client)
    new = client.post(PAGE, {"action": "recovery"}).context["codes"]
    assert sign_in().post(CODE, {"code": codes[0]}).status_code == 200
    second_factor.StaticDevice.objects.update(throttling_failure_count=0)
    assert sign_in().post(CODE, {"code": new[0]}).status_code == 302


@pytest.mark.parametrize("code", ["", "000000", "12345", "1234567", "x" * 200, "\x00", "٠٠٠٠٠٠", "-"])
def test_wrong_codes_are_refused(sue: User, code: str) -> None:
    device, _ = enrol(sign_in())
    client = sign_in()
    if code != code_of(device):
        assert client.post(CODE, {"code": code}).status_code == 200
        assert client.get(LIST).status_code == 302


def test_attempts_are_limited_like_passwords(sue: User, settings: Any) -> None:
    device, _ = enrol(sign_in())
    client = sign_in()
    settings.THROTTLE_LOGIN = Rate(3, DAY_S)
    statuses = [client.post(CODE, {"code": "000000"}).status_code for _ in range(5)]
    assert statuses == [200, 200, 200, 429, 429]
    forget_time(device)
    assert client.post(CODE, {"code": code_of(device)}).status_code == 429


def test_the_right_code_must_wait_after_wrong_ones(sue: User) -> None:
    device, _ = enrol(sign_in())
    client = sign_in()
    for _ in range(3):
        client.post(CODE, {"code": "x"})
    TOTPDevice.objects.update(throttling_failure_count=20)
    TOTPDevice.objects.filter(throttling_failure_timestamp=None).update(throttling_failure_timestamp="2026-01-01T00:00Z")
    client.post(CODE, {"code": "000000"})
    TOTPDevice.objects.update(throttling_failure_count=40)
    assert client.post(CODE, {"code": code_of(device)}).status_code == 200


def test_it_can_be_required(sue: User, settings: Any) -> None:
    settings.ADMIN_SECOND_FACTOR = "required"
    client = sign_in()
    assert client.get(LIST)["Location"].startswith(f"{PAGE}?next=")
    assert client.get("/admin/sessions/").status_code == 302
    assert "requires a second factor" in client.get(PAGE).content.decode()
    enrol(client)
    assert client.get(LIST).status_code == 200
    client.post(PAGE, {"action": "remove"})
    assert TOTPDevice.objects.filter(confirmed=True).count() == 1


def test_an_enrolment_without_its_code_counts_for_nothing(sue: User) -> None:
    client = sign_in()
    client.post(PAGE, {"action": "begin"})
    answer = client.post(PAGE, {"action": "confirm", "code": "000000"})
    assert "wrong" in answer.context["problem"]
    assert "svg" in answer.content.decode()
    assert sign_in().get(LIST).status_code == 200


def test_another_app_replaces_the_first(sue: User) -> None:
    client = sign_in()
    first, _ = enrol(client)
    second, _ = enrol(client)
    assert TOTPDevice.objects.get().pk == second.pk
    assert first.pk != second.pk
    assert client.get(LIST).status_code == 200


def test_it_can_be_removed(sue: User) -> None:
    client = sign_in()
    enrol(client)
    client.post(PAGE, {"action": "remove"})
    assert not TOTPDevice.objects.exists()
    assert not StaticToken.objects.exists()
    assert sign_in().get(LIST).status_code == 200


def test_off_asks_nobody(sue: User, settings: Any) -> None:
    enrol(sign_in())
    settings.ADMIN_SECOND_FACTOR = "off"
    assert sign_in().get(LIST).status_code == 200
    assert sign_in().get(PAGE).status_code == 302


def test_single_sign_on_needs_none_here(client: Client, provider: Any, settings: Any) -> None:
    settings.ADMIN_SECOND_FACTOR = "required"
    assert provider.come_back(client).status_code == 302
    assert client.get(LIST).status_code == 200
    assert client.get(PAGE).status_code == 302


def test_the_pages_are_not_stored_and_need_a_sign_in(sue: User) -> None:
    client = sign_in()
    assert "no-store" in client.post(PAGE, {"action": "begin"})["Cache-Control"]
    for page in (PAGE, CODE, "/admin/sessions/"):
        assert Client().get(page)["Location"] == f"/admin/login/?next={page}"
    client.force_login(User.objects.create_user("nobody"))
    assert client.get(PAGE).status_code == 302


@pytest.mark.parametrize("page", [PAGE, "/admin/sessions/"])
def test_forms_need_their_token(sue: User, page: str) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(sue)
    assert client.post(page, {"action": "begin"}).status_code == 403


def test_the_package_s_own_pages_are_not_served(superuser: Client) -> None:
    for page in ("otp_totp/totpdevice/", "otp_static/staticdevice/"):
        assert superuser.get(f"/admin/{page}").status_code == 404
