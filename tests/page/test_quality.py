"""The page for everyone: axe finds nothing, long replies do not freeze it, and a refused edit stays an edit."""

from pathlib import Path

import axe_playwright_python
import pytest
from playwright.sync_api import Page, expect

from tests.page.conftest import OpenPage
from tests.support.browser import DESKTOP, PHONE, chromium
from tests.support.client import Client
from tests.support.steps import done, hold, thought, tokens
from tests.support.upstream import ScriptedUpstream

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(chromium() is None, reason="chromium is not installed (apt-get install chromium)"),
]
AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text()
MARKDOWN = "# Tea\n\n1. black\n2. green\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n> said\n\n```python\nprint(1)\n```\n\n[more](https://example.org)"
MEBIBYTE = 1024 * 1024


def ask(page: Page, content: str) -> None:
    page.get_by_label("Message", exact=True).fill(content)
    page.keyboard.press("Enter")


def findings(page: Page) -> list[tuple[str, list[str]]]:
    """Return the rules of axe that the page breaks, each with the elements that break it."""
    page.evaluate(AXE)
    broken = page.evaluate("axe.run().then((found) => found.violations)")
    return [(rule["id"], [node["html"][:200] for node in rule["nodes"]]) for rule in broken]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(open_page: OpenPage, upstream: ScriptedUpstream, scheme: str) -> None:
    upstream.script(thought("They like tea"), tokens(MARKDOWN), done())
    page = open_page(color_scheme=scheme)
    assert findings(page) == [], "a new chat"
    ask(page, "show")
    expect(page.get_by_role("button", name="Write another reply")).to_be_visible()
    assert findings(page) == [], "a conversation"
    page.get_by_role("button", name="Edit", exact=True).click()
    assert findings(page) == [], "an edit"
    page.set_viewport_size(PHONE)
    assert findings(page) == [], "a phone"
    page.set_viewport_size(DESKTOP)
    page.get_by_role("button", name="Log out").click()
    expect(page.locator("#login")).to_be_visible()
    assert findings(page) == [], "the login"


def test_a_reply_of_a_mebibyte_is_appended_in_parts(open_page: OpenPage, upstream: ScriptedUpstream) -> None:
    gate = upstream.gate()
    paragraph = "word " * 199 + "end.\n\n"
    parts = [paragraph * 8] * (MEBIBYTE // (len(paragraph) * 8))
    upstream.script(tokens(*parts[:-1]), hold(gate), tokens(parts[-1]), done())
    page = open_page()
    page.evaluate(
        """() => {
        window.settled = { added: 0, redrawn: 0 };
        new MutationObserver((changes) => {
            for (const { addedNodes, removedNodes, target } of changes) {
                if (!target.matches?.(".reply > .text")) continue;
                settled.added += addedNodes.length;
                settled.redrawn += removedNodes.length;
            }
        }).observe(document.getElementById("thread"), { childList: true, subtree: true });
        }"""
    )
    ask(page, "go")
    blocks = page.locator(".reply > .text > p")
    expect(blocks).to_have_count(8 * (len(parts) - 1), timeout=60_000)
    # Blocks that are complete stay: what is drawn again is only what is still growing.
    counted = page.evaluate("settled")
    assert counted["redrawn"] < counted["added"] < 3 * 8 * len(parts)
    # The page still does what it is told.
    page.get_by_label("Message", exact=True).fill("typed meanwhile")
    expect(page.get_by_label("Message", exact=True)).to_have_value("typed meanwhile")
    gate.open()
    expect(page.get_by_role("button", name="Write another reply")).to_be_visible(timeout=60_000)


@pytest.mark.parametrize("status", [409, 413])
def test_a_refused_edit_stays_an_edit(open_page: OpenPage, client: Client, status: int) -> None:
    page = open_page()
    ask(page, "hallo there")
    expect(page.get_by_role("button", name="Write another reply")).to_be_visible()
    refused = {"status": status, "json": {"detail": "Refused.", "code": "refused"}}
    page.route("**/messages/*", lambda route: route.fulfill(**refused) if route.request.method == "PUT" else route.continue_())
    page.get_by_role("button", name="Edit", exact=True).click()
    field = page.get_by_label("Edit your message")
    field.fill("edited with care")
    field.press("Enter")
    expect(field).to_have_value("edited with care")
    expect(page.locator(".problem")).to_contain_text("Refused")
    assert page.get_by_label("Message", exact=True).input_value() == ""
    page.unroute("**/messages/*")
    field.press("Enter")
    expect(page.locator(".question .text")).to_have_text("edited with care")
    expect(page.get_by_role("group", name="Versions of your message")).to_have_text("2 / 2")
