"""The API's own page in a real browser, under its Content-Security-Policy."""

import pytest
from playwright.sync_api import expect

from tests.support.browser import DESKTOP, SCREENSHOTS, chromium, open_browser

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.slow,
    pytest.mark.skipif(chromium() is None, reason="chromium is not installed (apt-get install chromium)"),
]


def test_the_docs_page_needs_nothing_that_its_policy_refuses(live_server) -> None:
    with open_browser() as browser:
        page = browser.new_page(viewport=DESKTOP, base_url=live_server.url)
        problems: list[str] = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda line: problems.append(line.text) if line.type == "error" else None)
        page.goto("/api/docs")
        expect(page.locator("#operations-conversations-create_conversation")).to_be_visible(timeout=15_000)
        SCREENSHOTS.mkdir(exist_ok=True)
        page.screenshot(path=SCREENSHOTS / "docs.png")
        assert problems == []
