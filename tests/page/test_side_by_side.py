"""Two browsers, and two tabs of one, show the same without a reload."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.page.conftest import OpenPage
from tests.page.test_in_browser import ask
from tests.support.browser import chromium
from tests.support.client import Client
from tests.support.steps import done, hold, tokens
from tests.support.upstream import ScriptedUpstream

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(chromium() is None, reason="chromium is not installed (apt-get install chromium)"),
]


def tab_beside(page: Page) -> Page:
    """Open another tab of the same browser, logged in as the same user."""
    token = page.evaluate("sessionStorage.token")
    tab = page.context.new_page()
    tab.goto(f"{page.url.split('#')[0]}#token={token}")
    expect(tab.locator("#chat")).to_be_visible()
    return tab


def test_a_message_and_its_reply_appear_everywhere(open_page: OpenPage, upstream: ScriptedUpstream, client: Client) -> None:
    gate = upstream.gate()
    upstream.script(tokens("one "), hold(gate), tokens("two"), done(), when="count")
    conversation = client.create_conversation(title="Numbers")
    first, second = open_page(f"#/c/{conversation}"), open_page(f"#/c/{conversation}")
    third = tab_beside(first)
    expect(third.locator("#list li a")).to_have_text(["Numbers"])
    ask(first, "count")
    expect(second.locator(".question > .text")).to_have_text("count")
    expect(second.locator(".reply > .text")).to_have_text("one")
    expect(second.get_by_role("button", name="Stop the reply")).to_be_visible()
    gate.open()
    for page in (first, second):
        expect(page.locator(".reply > .text")).to_have_text("one two")
        expect(page.get_by_role("button", name="Send")).to_be_visible()
    # A chat that begins in one tab is in the lists of the others.
    upstream.script(tokens("Fine"), done(), when="How are you?")
    ask(third, "How are you?")
    for page in (first, second, third):
        expect(page.locator("#list li a")).to_have_text([re.compile("How are you"), re.compile("Numbers")])


def test_what_one_tab_puts_in_order_the_others_show(open_page: OpenPage, client: Client) -> None:
    conversation = client.create_conversation(title="Tea")
    first, second = open_page(f"#/c/{conversation}"), open_page(f"#/c/{conversation}")
    heading = second.get_by_role("heading", level=1)
    client.request("PATCH", f"/api/conversations/{conversation}", {"title": "Green tea", "is_favorited": True})
    expect(heading).to_have_text("Green tea")
    expect(second.locator("#list li a")).to_have_text([re.compile("Green tea")])
    first.get_by_role("button", name="Delete").click()
    first.locator("#delete-dialog").get_by_role("button", name="Delete").click()
    expect(heading).to_have_text("New chat")
    expect(second.locator("#list li a")).to_have_count(0)


def test_a_page_that_was_away_catches_up(open_page: OpenPage, client: Client) -> None:
    page = open_page()
    client.create_conversation(title="Tea")
    expect(page.locator("#list li a")).to_have_text(["Tea"])
    page.context.set_offline(True)
    client.create_conversation(title="Coffee")
    page.context.set_offline(False)
    expect(page.locator("#list li a")).to_have_text(["Coffee", "Tea"])
