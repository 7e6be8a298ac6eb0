"""`useChat` in Chromium: a reload in mid-reply, and pages that show another history."""

import json

import pytest
from playwright.sync_api import Page

from tests.clients.conftest import OpenPage
from tests.clients.tool_cases import WEATHER, calling
from tests.support.browser import chromium
from tests.support.steps import done, hold, tokens
from tests.support.upstream import ScriptedUpstream

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(chromium() is None, reason="chromium is not installed (apt-get install chromium)"),
]


def show_chat(open_page: OpenPage, settings: dict[str, str] | None = None, **options: str) -> Page:
    page = open_page("use_chat.mjs", settings, chatId="kitchen", **options)
    page.get_by_text("ready", exact=True).wait_for()
    return page


def test_a_page_is_reloaded_in_mid_reply(open_page: OpenPage, upstream: ScriptedUpstream) -> None:
    gate = upstream.gate()
    upstream.script(tokens("Hello", " wörld"), hold(gate), tokens(" 👩‍👩‍👧", " end"), done())
    page = show_chat(open_page)
    page.get_by_role("button", name="Send").click()
    page.get_by_text("Hello wörld", exact=True).wait_for()
    page.reload()
    page.get_by_text("Hello wörld", exact=True).wait_for()
    gate.open()
    page.get_by_text("Hello wörld 👩‍👩‍👧 end", exact=True).wait_for()
    page.get_by_text("ready", exact=True).wait_for()
    assert page.locator("p").all_inner_texts() == ["hi there", "Hello wörld 👩‍👩‍👧 end"]
    assert len(upstream.generations()) == 1


def test_the_model_gets_what_the_page_shows(open_page: OpenPage, upstream: ScriptedUpstream) -> None:
    page = show_chat(open_page)
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


def test_the_page_runs_a_tool(open_page: OpenPage, upstream: ScriptedUpstream) -> None:
    upstream.script(*calling("Oslo"), when="hi there")
    gate = upstream.gate()
    upstream.script(tokens("It is", " sunny"), hold(gate), tokens(" there"), done(), when="Sun in Oslo")
    settings = {"INFERENCE_PROTOCOL": "openai", "INFERENCE_MODEL": "tiny"}
    page = show_chat(open_page, settings, tools=json.dumps([WEATHER]))
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
