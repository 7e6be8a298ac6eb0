"""The page at `/` in a real browser, on the real server."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.browser import DESKTOP, EXPECT_LIMIT_S, open_browser
from tests.support.client import Client
from tests.support.server import Server
from tests.support.servers import StartServer

# Opens the page, logged in as the client, at a fragment such as "#/c/…".
OpenPage = Callable[..., Page]


@pytest.fixture(scope="session")
def service(new_server: StartServer) -> Iterator[Server]:
    with new_server(TRY_PAGE="true", INFERENCE_PROTOCOL="openai", TRASH_DAYS="30") as server:
        yield server


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as opened:
        yield opened


@pytest.fixture
def open_page(browser: Browser, service: Server, client: Client) -> Iterator[OpenPage]:
    """Fails the test where a script failed, the policy refused something, or something was fetched from elsewhere."""
    address = f"http://127.0.0.1:{service.port}/"
    problems: list[str] = []
    with ExitStack() as contexts:

        def open_one(fragment: str = "", viewport: dict[str, int] = DESKTOP, **options: object) -> Page:
            context = contexts.enter_context(browser.new_context(viewport=viewport, **options))
            context.set_default_timeout(EXPECT_LIMIT_S * 1000)
            page = context.new_page()
            page.on("pageerror", lambda error: problems.append(str(error)))
            page.on("console", lambda line: problems.append(line.text) if "Content Security Policy" in line.text else None)
            page.on("request", lambda request: request.url.startswith(address) or problems.append(request.url))
            page.goto(f"{address}#token={client.token}")
            expect(page.locator("#chat")).to_be_visible()
            if fragment:
                page.goto(f"{address}{fragment}")
            return page

        yield open_one
    assert problems == []
