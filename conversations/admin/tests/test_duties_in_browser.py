"""The pages of legal holds and of retention rules, in a real browser: light, dark and on a phone."""

import pytest
from playwright.sync_api import Page, expect

from conversations.models import Assistant, RetentionRule
from conversations.tests.factories import USER_ID, make_conversation
from tests.support.browser import chromium

from .factories import make_chat_user
from .test_in_browser import _photograph, browser, findings, page  # noqa: F401  # fixtures

pytestmark = [
    pytest.mark.slow,
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(chromium() is None, reason="chromium is not installed (apt-get install chromium)"),
]
HOLDS = "/admin/conversations/legalhold/"
RULES = "/admin/conversations/retentionrule/"


def test_a_hold_is_placed_seen_and_released(page: Page) -> None:  # noqa: F811
    make_chat_user()
    kept = make_conversation(title="About the contract")
    page.goto(f"{HOLDS}add/")
    page.fill("#id_reason", "File 12/2026, asked for by the legal department")
    page.fill("#id_user", "ada@example.com")
    page.fill("#id_ends_at", "2999-01-31T00:00")
    _photograph(page, "hold-add")
    assert findings(page) == []
    page.click("input[name=_save]")
    expect(page.locator("#result_list")).to_contain_text("ada@example.com")
    _photograph(page, "holds")
    # Django's own search box has a hint and no label.
    assert [rule for rule, _ in findings(page)] == ["label-title-only"]
    page.goto(f"/admin/conversations/conversation/{kept.pk}/change/")
    expect(page.locator(".facts")).to_contain_text("On hold (the user)")
    page.click(".facts a[href*=legalhold]")
    expect(page.locator("#content")).to_contain_text("File 12/2026")
    _photograph(page, "hold")
    assert findings(page) == []
    page.goto(f"/admin/conversations/conversation/{kept.pk}/delete/")
    expect(page.locator(".confirm")).to_contain_text("1 of them is on hold and will stay")


def test_rules_are_written_and_listed(page: Page) -> None:  # noqa: F811
    make_chat_user()
    pirate = Assistant.objects.create(name="Pirate")
    for days, scope in (
        (365, {}),
        (30, {"is_anonymous": True}),
        (90, {"model_tag": "d32"}),
        (None, {"user_id": USER_ID}),
        (730, {"what": "staff_access"}),
    ):
        RetentionRule.objects.create(days=days, **scope)
    page.goto(f"{RULES}add/")
    page.select_option("#id_assistant", str(pirate.id))
    page.fill("#id_days", "180")
    _photograph(page, "rule-add")
    assert findings(page) == []
    page.click("input[name=_save]")
    expect(page.locator("#result_list")).to_contain_text("with the assistant Pirate")
    _photograph(page, "rules")
    assert findings(page) == []
