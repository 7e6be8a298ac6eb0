"""`useChat` in Chromium: a reload in mid-reply, and pages that show another history."""

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.clients.pages import serving_page
from tests.clients.tool_cases import WEATHER, calling
from tests.conftest import StartServer
from tests.support.browser import chromium, open_browser
from tests.support.client import Client
from tests.support.steps import done, hold, tokens
from tests.support.upstream import ScriptedUpstream

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(chromium() is None, reason="chromium is not installed (apt-get install chromium)"),
]


@pytest.fixture
def page_address(node: None, tmp_path: Path) -> Iterator[str]:
    """The address of the page, which is not the service's."""
    with serving_page("use_chat.mjs", tmp_path) as address:
        yield address


def test_a_page_is_reloaded_in_mid_reply(
    page_address: str, new_server: StartServer, client: Client, upstream: ScriptedUpstream
) -> None:
    gate = upstream.gate()
    upstream.script(tokens("Hello", " wörld"), hold(gate), tokens(" 👩‍👩‍👧", " end"), done())
    with new_server(FRONTEND_URL=page_address) as service, open_browser() as browser:
        page = browser.new_page()
        options = {"address": f"http://127.0.0.1:{service.port}", "token": client.token, "chatId": "kitchen"}
        page.goto(f"{page_address}/?{urlencode(options)}")
        page.get_by_text("ready", exact=True).wait_for()
        page.get_by_role("button", name="Send").click()
        page.get_by_text("Hello wörld", exact=True).wait_for()
        page.reload()
        page.get_by_text("Hello wörld", exact=True).wait_for()
        gate.open()
        page.get_by_text("Hello wörld 👩‍👩‍👧 end", exact=True).wait_for()
        page.get_by_text("ready", exact=True).wait_for()
        assert page.locator("p").all_inner_texts() == ["hi there", "Hello wörld 👩‍👩‍👧 end"]
    assert len(upstream.generations()) == 1


def test_the_model_gets_what_the_page_shows(
    page_address: str, new_server: StartServer, client: Client, upstream: ScriptedUpstream
) -> None:
    with new_server(FRONTEND_URL=page_address) as service, open_browser() as browser:
        page = browser.new_page()
        options = {"address": f"http://127.0.0.1:{service.port}", "token": client.token, "chatId": "kitchen"}
        page.goto(f"{page_address}/?{urlencode(options)}")
        page.get_by_text("ready", exact=True).wait_for()
        sent = 0

        def press(name: str, answer: str = "") -> list[str]:
            """Press a button. If it sends something, return what the model gets, which is what the page shows."""
            nonlocal sent
            if not answer:
                page.get_by_role("button", name=name).click()
                return []
            upstream.script(tokens(answer), done())
            page.get_by_role("button", name=name).click()
            page.get_by_text(answer, exact=True).wait_for()
            page.get_by_text("ready", exact=True).wait_for()
            sent += 1
            assert len(upstream.generations()) == sent
            given = [message["content"] for message in upstream.generations()[-1].body["messages"]]
            assert page.locator("p").all_inner_texts() == [*given, answer]
            return given

        assert press("Send", "one") == ["hi there"]
        assert press("Send", "two") == ["hi there", "one", "hi there"]
        press("Cut short")
        assert press("Send", "three") == ["hi there", "one", "hi there"]
        press("Clear")
        assert press("Send", "four") == ["hi there"]
        press("Go back")
        assert press("Send", "five") == ["hi there", "one", "hi there", "two", "hi there"]
        assert press("Regenerate the first", "six") == ["hi there"]
        assert press("Send", "seven") == ["hi there", "six", "hi there"]
        assert press("Edit the first", "eight") == ["changed"]
        page.reload()
        page.get_by_text("eight", exact=True).wait_for()
        assert press("Send", "nine") == ["changed", "eight", "hi there"]
        press("Invent")
        page.get_by_role("button", name="Send").click()
        page.get_by_text("history_mismatch").wait_for()
        assert len(upstream.generations()) == sent


def test_the_page_runs_a_tool(page_address: str, new_server: StartServer, client: Client, upstream: ScriptedUpstream) -> None:
    upstream.script(*calling("Oslo"), when="hi there")
    gate = upstream.gate()
    upstream.script(tokens("It is", " sunny"), hold(gate), tokens(" there"), done(), when="Sun in Oslo")
    settings = {"INFERENCE_PROTOCOL": "openai", "INFERENCE_MODEL": "tiny"}
    with new_server(FRONTEND_URL=page_address, **settings) as service, open_browser() as browser:
        page = browser.new_page()
        where = {"address": f"http://127.0.0.1:{service.port}", "token": client.token, "chatId": "kitchen"}
        page.goto(f"{page_address}/?{urlencode({**where, 'tools': json.dumps([WEATHER])})}")
        page.get_by_text("ready", exact=True).wait_for()
        page.get_by_role("button", name="Send").click()
        page.get_by_text("Sun in Oslo. It is sunny", exact=True).wait_for()
        # While the model goes on, the page is reloaded. It does not run the tool again.
        page.reload()
        page.get_by_text("Sun in Oslo. It is sunny", exact=True).wait_for()
        gate.open()
        page.get_by_text("Sun in Oslo. It is sunny there", exact=True).wait_for()
        page.get_by_text("ready", exact=True).wait_for()
        assert page.locator("p").all_inner_texts() == ["hi there", "Sun in Oslo. It is sunny there"]
    assert len(upstream.generations()) == 2
