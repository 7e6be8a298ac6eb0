"""Staff sign in, in a real browser: at a real provider, and with a second factor. Each page is photographed."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django_otp.oath import TOTP
from django_otp.plugins.otp_totp.models import TOTPDevice
from playwright.sync_api import Browser, Page, expect

from conversations.admin.tests.factories import make_staff
from conversations.admin.tests.test_in_browser import _photograph as photograph
from conversations.admin.tests.test_in_browser import findings
from tests.sign_in.provider import CLIENT_ID, CLIENT_SECRET, running_provider, why_missing
from tests.support.browser import DESKTOP, EXPECT_LIMIT_S, chromium, open_browser

pytestmark = [
    pytest.mark.slow,
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(chromium() is None, reason="chromium is not installed (apt-get install chromium)"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as opened:
        yield opened


@pytest.fixture
def page(browser: Browser, live_server: Any) -> Iterator[Page]:
    context = browser.new_context(viewport=DESKTOP, base_url=live_server.url)
    context.set_default_timeout(EXPECT_LIMIT_S * 1000)
    opened = context.new_page()
    problems: list[str] = []
    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.on("console", lambda line: problems.append(line.text) if "Content Security Policy" in line.text else None)
    yield opened
    context.close()
    assert problems == []


@pytest.fixture
def issuer(single_sign_on: Any, live_server: Any) -> Iterator[str]:
    with running_provider(live_server.url) as running:
        single_sign_on.ADMIN_OIDC_ISSUER = running
        single_sign_on.ADMIN_OIDC_CLIENT_ID = CLIENT_ID
        single_sign_on.ADMIN_OIDC_CLIENT_SECRET = CLIENT_SECRET
        yield running


@pytest.mark.skipif(why_missing() is not None, reason=why_missing() or "-")
def test_staff_sign_in_at_the_provider_and_out_again(page: Page, issuer: str, live_server: Any, settings: Any) -> None:
    settings.ADMIN_PASSWORDS = False
    page.goto("/admin/conversations/chatuser/")
    photograph(page, "sign-in")
    assert findings(page) == []
    page.click("text=Sign in with single sign-on")
    page.fill("input[name=login]", "lea")
    page.fill("input[name=password]", "any")
    page.click("button[type=submit]")
    # The provider asks once whether this service may know who it is.
    page.click("button[type=submit]")
    expect(page).to_have_url(f"{live_server.url}/admin/conversations/chatuser/")
    expect(page.locator("#user-tools")).to_contain_text("Lea Lead")
    page.click("text=Log out")
    expect(page.locator("#content")).to_contain_text("Your session at the sign-in service goes on.")
    photograph(page, "signed-out")
    assert findings(page) == []
    page.click("text=Sign out there, too")
    page.click("button[value=yes]")
    expect(page).to_have_url(f"{live_server.url}/admin/login/")


@pytest.mark.skipif(why_missing() is not None, reason=why_missing() or "-")
def test_somebody_who_is_no_staff_is_told_why(page: Page, issuer: str) -> None:
    page.goto("/admin/oidc/start/")
    page.fill("input[name=login]", "bo")
    page.fill("input[name=password]", "any")
    page.click("button[type=submit]")
    page.click("button[type=submit]")
    expect(page.locator(".errornote")).to_contain_text("in none of the groups")
    photograph(page, "refused")
    assert findings(page) == []


def log_in(page: Page, name: str) -> None:
    page.goto("/admin/login/")
    page.fill("input[name=username]", name)
    page.fill("input[name=password]", "a long password")
    page.click("input[type=submit]")


def code_of_app() -> str:
    return f"{TOTP(TOTPDevice.objects.latest('pk').bin_key).token():06d}"


def test_a_second_factor_is_enrolled_and_given(page: Page, settings: Any) -> None:
    settings.ADMIN_SECOND_FACTOR = "required"
    make_staff("lea", "leads", password="a long password")
    log_in(page, "lea")
    expect(page.get_by_role("heading", name="Second factor")).to_be_visible()
    photograph(page, "second-factor-required")
    assert findings(page) == []
    page.get_by_role("button", name="Add an authenticator app").click()
    expect(page.locator(".qr-code svg")).to_be_visible()
    photograph(page, "second-factor-code")
    assert findings(page) == []
    page.get_by_label("Code").fill(code_of_app())
    page.get_by_role("button", name="Confirm").click()
    expect(page.locator(".recovery-codes li")).to_have_count(10)
    photograph(page, "recovery-codes")
    assert findings(page) == []
    recovery = page.locator(".recovery-codes li").first.inner_text()
    page.click("text=I have kept them")
    page.get_by_role("link", name="Sessions").click()
    page.get_by_role("link", name="Your second factor").click()
    expect(page.locator("#content")).to_contain_text("10 recovery codes left")
    photograph(page, "second-factor")
    assert findings(page) == []
    page.click("text=Log out")
    log_in(page, "lea")
    expect(page.get_by_label("Code")).to_be_focused()
    photograph(page, "second-factor-asked")
    assert findings(page) == []
    page.get_by_label("Code").fill("wrong")
    page.get_by_role("button", name="Go on").click()
    expect(page.locator(".errornote")).to_contain_text("This code is wrong")
    TOTPDevice.objects.update(throttling_failure_count=0)
    User.objects.get().staticdevice_set.update(throttling_failure_count=0)
    page.get_by_label("Code").fill(recovery)
    page.get_by_role("button", name="Go on").click()
    expect(page.locator("#user-tools")).to_contain_text("lea")


def test_sessions_are_listed_and_ended(page: Page, browser: Browser, live_server: Any) -> None:
    make_staff("lea", "leads", password="a long password")
    sue = make_staff("sue", "support", password="a long password")
    TOTPDevice.objects.create(user=sue, name="app", created_at=None)
    TOTPDevice.objects.update(confirmed=True)
    others = []
    for name in ("lea", "sue"):
        other = browser.new_context(base_url=live_server.url, viewport=DESKTOP)
        other.set_default_timeout(EXPECT_LIMIT_S * 1000)
        tab = other.new_page()
        log_in(tab, name)
        tab.goto("/admin/")
        others.append(tab)
    log_in(page, "lea")
    page.get_by_role("link", name="Sessions").click()
    expect(page.locator("tbody").first.locator("tr")).to_have_count(2)
    expect(page.get_by_role("region", name="Sessions of colleagues")).to_contain_text("sue")
    photograph(page, "sessions")
    assert findings(page) == []
    page.get_by_role("button", name="End all sessions of sue").click()
    expect(page.locator(".messagelist")).to_contain_text("Ended 1 session.")
    page.get_by_role("button", name="End all others of mine").click()
    expect(page.locator("tbody").first.locator("tr")).to_have_count(1)
    for tab in others:
        tab.goto("/admin/")
        expect(tab.locator("#login-form")).to_be_visible()
        tab.context.close()
