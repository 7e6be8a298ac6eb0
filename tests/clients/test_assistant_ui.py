"""assistant-ui in Chromium: edits, new answers and the branch picker, and the model gets what the page shows."""

import pytest

from tests.clients.conftest import OpenPage
from tests.support.browser import chromium
from tests.support.steps import done, tokens
from tests.support.upstream import ScriptedUpstream

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(chromium() is None, reason="chromium is not installed (apt-get install chromium)"),
]


def test_the_model_gets_the_branch_that_the_page_shows(open_page: OpenPage, upstream: ScriptedUpstream) -> None:
    page = open_page("assistant_ui.mjs")
    sent = 0

    def press(name: str, answer: str) -> list[str]:
        """Press the first button of this name, and return what the model gets, which is what the page shows."""
        nonlocal sent
        upstream.script(tokens(answer), done())
        page.get_by_role("button", name=name).first.click()
        page.get_by_text(answer, exact=True).wait_for()
        sent += 1
        assert len(upstream.generations()) == sent
        given = [message["content"] for message in upstream.generations()[-1].body["messages"]]
        assert page.locator(".message").all_inner_texts() == [*given, answer]
        return given

    def send(text: str, answer: str) -> list[str]:
        page.get_by_label("Message").fill(text)
        return press("Send", answer)

    def go(name: str, until: str) -> None:
        """Go to another version of the first message that has several."""
        page.locator(f"button:text-is('{name}'):not([disabled])").first.click()
        page.get_by_text(until, exact=True).wait_for()

    assert send("I am Bob.", "Hello, Bob!") == ["I am Bob."]
    assert send("Who am I?", "Bob") == ["I am Bob.", "Hello, Bob!", "Who am I?"]
    page.get_by_role("button", name="Edit").first.click()
    page.get_by_label("Edited").fill("I am Alice.")
    assert press("Save", "Hello, Alice!") == ["I am Alice."]
    assert send("Who am I now?", "Alice") == ["I am Alice.", "Hello, Alice!", "Who am I now?"]
    go("Previous", "Hello, Bob!")
    assert send("And now?", "Bob again") == ["I am Bob.", "Hello, Bob!", "Who am I?", "Bob", "And now?"]
    assert press("Reload", "Good day, Bob!") == ["I am Bob."]
    assert send("Still?", "Yes") == ["I am Bob.", "Good day, Bob!", "Still?"]
    go("Next", "Hello, Alice!")
    assert send("And you?", "A model") == ["I am Alice.", "Hello, Alice!", "Who am I now?", "Alice", "And you?"]
