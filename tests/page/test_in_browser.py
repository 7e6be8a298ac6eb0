"""What a person does on the page: send, reload in mid-reply, stop, regenerate, edit, try again after an error."""

import re

import pytest
from playwright.sync_api import Page, Route, expect

from tests.page.conftest import OpenPage
from tests.support.browser import PHONE, SCREENSHOTS, chromium
from tests.support.client import Client
from tests.support.steps import done, endless, hang_up, hold, respond, thought, tokens
from tests.support.upstream import ScriptedUpstream
from tests.support.waiting import wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(chromium() is None, reason="chromium is not installed (apt-get install chromium)"),
]


def ask(page: Page, content: str) -> None:
    page.get_by_label("Message", exact=True).fill(content)
    page.keyboard.press("Enter")


def replies(page: Page) -> list[str]:
    return page.locator(".reply > .text").all_inner_texts()


def contents(client: Client) -> list[str]:
    """The messages of the user's only conversation, inactive versions too."""
    (conversation,) = client.get("/api/conversations")["items"]
    return [message["content"] for message in client.messages(conversation["id"])]


def photograph(page: Page, name: str) -> None:
    """Photograph a page light, dark and on a phone, and check that it fits the phone's width."""
    SCREENSHOTS.mkdir(exist_ok=True)
    desktop = page.viewport_size
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.screenshot(path=SCREENSHOTS / f"page-{name}-{scheme}.png", animations="disabled")
    page.emulate_media(color_scheme="light")
    page.set_viewport_size(PHONE)
    page.screenshot(path=SCREENSHOTS / f"page-{name}-phone.png", animations="disabled")
    too_wide = page.evaluate(
        """[...document.querySelectorAll("body *")]
        .filter((node) => node.checkVisibility() && node.getBoundingClientRect().right > innerWidth)
        .map((node) => node.outerHTML.slice(0, 100))"""
    )
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], f"{name} is wider than a phone: {too_wide}"
    page.set_viewport_size(desktop)


def test_the_token_of_the_link_leaves_the_address_at_once(open_page: OpenPage, client: Client) -> None:
    page = open_page()
    assert "token" not in page.url
    assert page.evaluate("sessionStorage.token") == client.token
    assert client.token not in page.evaluate("JSON.stringify(localStorage) + document.cookie")
    photograph(page, "new")
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_label("Token")).to_be_focused()
    assert page.evaluate("sessionStorage.token") is None
    page.get_by_label("Token").fill("wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("not valid")
    photograph(page, "login")


def test_a_question_gets_its_reply_with_reasoning_and_code(
    open_page: OpenPage, client: Client, upstream: ScriptedUpstream
) -> None:
    gate = upstream.gate()
    code = "\n\n```python\npeople.sort(key=lambda person: person.age)\n```\n\n<img src=x onerror=alert(1)> stays text."
    upstream.script(
        thought("They have a list"),
        tokens("Use a **key**, for example `age`:", code),
        hold(gate),
        tokens("\n\n- one\n- two"),
        done(),
    )
    page = open_page()
    ask(page, "How do I sort a list of people by age?")
    expect(page.locator(".reply pre")).to_have_text("people.sort(key=lambda person: person.age)")
    expect(page.get_by_role("button", name="Stop the reply")).to_be_visible()
    expect(page.locator(".reply")).to_have_attribute("aria-busy", "true")
    photograph(page, "writing")
    gate.open()
    expect(page.get_by_role("button", name="Send")).to_be_visible()
    expect(page.locator(".reply li")).to_have_text(["one", "two"])
    expect(page.locator(".reply > .text")).to_contain_text("<img src=x onerror=alert(1)> stays text.")
    assert page.locator("img").count() == 0
    expect(page.get_by_role("status")).to_contain_text("Reply: Use a")
    expect(page.get_by_text("They have a list")).to_be_hidden()
    page.get_by_text("Reasoning").click()
    expect(page.get_by_text("They have a list")).to_be_visible()
    expect(page.get_by_role("heading", level=1)).to_have_text("How do I sort a list of people by age?")
    expect(page.locator("#list section h2")).to_have_text(["Today"])
    expect(page.locator("#list a[aria-current=page]")).to_have_text(re.compile("How do I sort"))
    photograph(page, "reply")


def test_a_reload_in_mid_reply_continues_exactly(open_page: OpenPage, client: Client, upstream: ScriptedUpstream) -> None:
    gate = upstream.gate()
    upstream.script(thought("counting"), tokens("one ", "zwei ", "三 "), hold(gate), tokens("four"), done())
    page = open_page()
    ask(page, "count")
    expect(page.locator(".reply > .text")).to_have_text("one zwei 三")
    page.reload()
    expect(page.get_by_role("button", name="Stop the reply")).to_be_visible()
    expect(page.locator(".reply > .text")).to_have_text("one zwei 三")
    gate.open()
    expect(page.locator(".reply > .text")).to_have_text("one zwei 三 four")
    expect(page.get_by_role("button", name="Send")).to_be_visible()
    assert replies(page) == ["one zwei 三 four"]
    assert contents(client) == ["count", "one zwei 三 four"]
    assert page.locator(".reasoning .text").all_text_contents() == ["counting"]


def test_a_stopped_reply_keeps_its_text(open_page: OpenPage, client: Client, upstream: ScriptedUpstream) -> None:
    upstream.script(endless("on and "))
    page = open_page()
    ask(page, "go")
    expect(page.locator(".reply > .text")).to_contain_text("on and on")
    page.get_by_role("button", name="Stop the reply").click()
    expect(page.locator(".note")).to_have_text("You stopped this reply.")
    upstream.wait_call().wait_client_left()
    _, reply = contents(client)
    expect(page.locator(".reply > .text p").first).to_have_text(reply.strip())


def test_another_reply_is_a_version_and_both_can_be_chosen(
    open_page: OpenPage, client: Client, upstream: ScriptedUpstream
) -> None:
    upstream.script(tokens("first"), done())
    page = open_page()
    ask(page, "hello")
    expect(page.get_by_role("button", name="Write another reply")).to_be_visible()
    upstream.script(tokens("second"), done())
    page.get_by_role("button", name="Write another reply").click()
    versions = page.get_by_role("group", name="Versions of this reply")
    expect(versions).to_have_text("2 / 2")
    assert replies(page) == ["second"]
    versions.get_by_role("button", name="Earlier version").click()
    expect(versions).to_have_text("1 / 2")
    assert replies(page) == ["first"]
    assert contents(client) == ["hello", "first", "second"]


def test_a_message_waits_while_a_reply_is_written(open_page: OpenPage, client: Client, upstream: ScriptedUpstream) -> None:
    gate = upstream.gate()
    upstream.script(tokens("one "), hold(gate), tokens("two"), done(), when="count")
    page = open_page()
    ask(page, "count")
    expect(page.locator(".reply > .text")).to_have_text("one")
    for content in ("and tea?", "and cake?", "never mind"):
        page.get_by_label("Message", exact=True).fill(content)
        page.get_by_role("button", name="Send when the reply has ended").click()
        expect(page.locator(".queue .name").last).to_have_text(content)
    expect(page.locator(".reply > .text")).to_have_text("one")
    photograph(page, "queue")
    page.get_by_role("button", name="Remove").last.click()
    expect(page.locator(".queue .name")).to_have_text(["and tea?", "and cake?"])
    page.get_by_role("button", name="Take back to edit").last.click()
    expect(page.locator("#question")).to_have_value("and cake?")
    expect(page.locator(".queue .name")).to_have_text(["and tea?"])
    gate.open()
    expect(page.locator(".reply > .text")).to_have_text(["one two", "and tea?"])
    expect(page.locator(".queue")).to_have_count(0)
    assert contents(client) == ["count", "one two", "and tea?", "and tea?"]


def test_what_waits_since_a_stop_goes_on_when_asked_to(open_page: OpenPage, client: Client, upstream: ScriptedUpstream) -> None:
    upstream.script(endless("on "), when="count")
    page = open_page()
    ask(page, "count")
    expect(page.locator(".reply > .text")).to_contain_text("on")
    ask(page, "second")
    expect(page.locator(".queue .name")).to_have_text(["second"])
    page.get_by_role("button", name="Stop the reply").click()
    expect(page.get_by_role("button", name="Go on with them")).to_be_visible()
    photograph(page, "queue-kept")
    ask(page, "third")
    expect(page.locator(".reply > .text").nth(2)).to_have_text("third")
    assert contents(client)[2:] == ["second", "second", "third", "third"]


def test_a_question_is_edited(open_page: OpenPage, client: Client) -> None:
    page = open_page()
    ask(page, "hallo there")
    page.get_by_role("button", name="Edit", exact=True).click()
    field = page.get_by_label("Edit your message")
    expect(field).to_be_focused()
    field.fill("hello there")
    field.press("Enter")
    expect(page.get_by_role("group", name="Versions of your message")).to_have_text("2 / 2")
    assert replies(page) == ["hello there"]
    assert page.locator(".question .text").all_inner_texts() == ["hello there"]
    assert contents(client) == ["hallo there", "hallo there", "hello there", "hello there"]


def test_the_first_question_is_edited_and_the_way_back_shows_everything_as_it_was(
    open_page: OpenPage, client: Client, conversation: str
) -> None:
    for content in ("one", "two", "three"):
        client.ask(conversation, content)
    page = open_page(f"#/c/{conversation}")
    first = page.locator(".question").first
    first.get_by_role("button", name="Edit", exact=True).click()
    page.get_by_label("Edit your message").fill("uno")
    page.keyboard.press("Enter")
    versions = first.get_by_role("group", name="Versions of your message")
    expect(versions).to_have_text("2 / 2")
    assert replies(page) == ["uno"]
    ask(page, "due")
    expect(page.locator(".reply")).to_have_count(2)
    expect(page.get_by_role("button", name="Send")).to_be_visible()
    versions.get_by_role("button", name="Earlier version").click()
    expect(page.locator(".reply > .text")).to_have_text(["one", "two", "three"])
    photograph(page, "versions")
    versions.get_by_role("button", name="Later version").click()
    expect(page.locator(".reply > .text")).to_have_text(["uno", "due"])


def test_any_reply_is_written_again_and_what_followed_is_kept(
    open_page: OpenPage, client: Client, conversation: str, upstream: ScriptedUpstream
) -> None:
    for content in ("one", "two"):
        client.ask(conversation, content)
    gate = upstream.gate()
    upstream.script(tokens("ano"), hold(gate), tokens("ther"), done())
    page = open_page(f"#/c/{conversation}")
    page.get_by_role("button", name="Write another reply").first.click()
    expect(page.locator(".reply > .text")).to_have_text(["ano"])
    page.reload()
    expect(page.locator(".reply > .text")).to_have_text(["ano"])
    gate.open()
    expect(page.locator(".reply > .text")).to_have_text(["another"])
    page.get_by_role("button", name="Earlier version").click()
    expect(page.locator(".reply > .text")).to_have_text(["one", "two"])


def test_a_branch_becomes_a_conversation_of_its_own(open_page: OpenPage, client: Client, conversation: str) -> None:
    for content in ("one", "two"):
        client.ask(conversation, content)
    page = open_page(f"#/c/{conversation}")
    page.get_by_role("button", name="Branch off into a new conversation").first.click()
    expect(page.locator(".reply > .text")).to_have_text(["one"])
    ask(page, "three")
    expect(page.locator(".reply > .text")).to_have_text(["one", "three"])
    expect(page.locator("#list li")).to_have_count(2)
    assert [message["content"] for message in client.messages(conversation)] == ["one", "one", "two", "two"]


@pytest.mark.parametrize("end", ["it breaks off", "it is stopped"])
def test_a_reply_is_continued(open_page: OpenPage, client: Client, upstream: ScriptedUpstream, end: str) -> None:
    upstream.script(thought("Hm 三"), tokens("once 三 "), hang_up() if end == "it breaks off" else endless(""))
    page = open_page()
    ask(page, "tell")
    if end == "it is stopped":
        expect(page.locator(".reply > .text")).to_contain_text("once 三")
        page.get_by_role("button", name="Stop the reply").click()
    expect(page.get_by_role("button", name="Continue")).to_be_visible()
    gate = upstream.gate()
    upstream.script(tokens("upon "), hold(gate), tokens("a time"), done())
    page.get_by_role("button", name="Continue").click()
    expect(page.locator(".reply > .text")).to_have_text("once 三 upon")
    page.reload()
    expect(page.locator(".reply > .text")).to_have_text("once 三 upon")
    gate.open()
    expect(page.locator(".reply > .text")).to_have_text("once 三 upon a time")
    expect(page.get_by_role("button", name="Continue")).to_have_count(0)
    assert contents(client) == ["tell", "once 三 upon a time"]


def test_a_continuation_that_fails_keeps_the_reply(open_page: OpenPage, client: Client, upstream: ScriptedUpstream) -> None:
    upstream.script(tokens("once "), hang_up())
    page = open_page()
    ask(page, "tell")
    expect(page.locator(".problem")).to_be_visible()
    upstream.script(respond("503 Service Unavailable"))
    page.get_by_role("button", name="Continue").click()
    expect(page.locator(".problem")).to_contain_text("model")
    upstream.script(tokens("upon a time"), done())
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("button", name="Continue")).to_have_count(0)
    expect(page.locator(".reply > .text")).to_have_text("once upon a time")


@pytest.mark.parametrize("failure", ["refused", "in mid-stream"])
def test_trying_again_after_an_error_asks_one_question(
    open_page: OpenPage, client: Client, upstream: ScriptedUpstream, failure: str
) -> None:
    if failure == "refused":
        upstream.script(respond("503 Service Unavailable"))
    else:
        upstream.script(thought("Hm"), hang_up())
    page = open_page()
    ask(page, "hello")
    expect(page.locator(".problem")).to_be_visible()
    if failure == "refused":
        photograph(page, "error")
    upstream.reset()
    gate = upstream.gate()
    upstream.script(tokens("hel"), hold(gate), tokens("lo"), done())
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(".reply > .text")).to_have_text("hel")
    gate.open()
    expect(page.get_by_role("button", name="Write another reply")).to_be_visible()
    assert page.locator(".problem").count() == 0
    assert page.locator(".question .text").all_inner_texts() == ["hello"]
    (conversation,) = client.get("/api/conversations")["items"]
    messages = client.messages(conversation["id"])
    assert [message["content"] for message in messages if message["role"] == "user"] == ["hello"]
    assert [message["content"] for message in messages if message["role"] == "assistant" and message["is_active"]] == ["hello"]


def test_a_question_that_never_arrived_stays_and_can_be_sent_again(
    open_page: OpenPage, client: Client, conversation: str
) -> None:
    page = open_page(f"#/c/{conversation}")
    expect(page.get_by_role("heading", level=1)).to_have_text("New conversation")
    busy = {"status": 429, "json": {"detail": "Too many requests.", "code": "throttled"}}
    page.route("**/messages", lambda route: route.fulfill(**busy) if route.request.method == "POST" else route.continue_())
    ask(page, "hello there")
    expect(page.locator(".problem")).to_contain_text("Too many requests.")
    expect(page.locator(".question .text")).to_have_text("hello there")
    page.unroute("**/messages")
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("button", name="Write another reply")).to_be_visible()
    assert page.locator(".question .text").all_inner_texts() == ["hello there"]
    assert contents(client) == ["hello there", "hello there"]


def test_a_temporary_chat_is_not_listed(open_page: OpenPage, client: Client) -> None:
    page = open_page()
    page.get_by_label("Temporary chat").check()
    ask(page, "secret")
    expect(page.get_by_role("button", name="Write another reply")).to_be_visible()
    expect(page.locator("#temporary-badge")).to_be_visible()
    assert client.get("/api/conversations")["items"] == []
    page.reload()
    expect(page.locator(".reply > .text")).to_have_text("secret")
    expect(page.locator("#temporary-badge")).to_be_visible()


def test_rename_favourite_feedback_search_and_delete(open_page: OpenPage, client: Client) -> None:
    other = client.create_conversation(title="Another")
    client.ask(other, "nothing of interest")
    page = open_page()
    ask(page, "green tea & cake")
    page.get_by_role("button", name="Good reply").click()
    expect(page.get_by_role("button", name="Good reply")).to_have_attribute("aria-pressed", "true")
    page.get_by_role("button", name="Rename", exact=True).click()
    expect(page.get_by_label("Title")).to_be_focused()
    page.get_by_label("Title").fill("Kitchen")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Kitchen")
    page.get_by_role("button", name="Favourite", exact=True).click()
    expect(page.get_by_role("button", name="Favourite", exact=True)).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#list li")).to_have_count(2)
    page.get_by_label("Which conversations").select_option("Favourites")
    expect(page.locator("#list li")).to_have_count(1)
    page.get_by_label("Which conversations").select_option("Conversations")
    page.get_by_label("Search conversations and messages").fill("tea")
    expect(page.locator("#list mark").first).to_have_text("tea")
    expect(page.locator("#list .snippet").first).to_contain_text("green tea & cake")
    photograph(page, "search")
    page.get_by_label("Search conversations and messages").fill("")
    page.get_by_role("button", name="Delete", exact=True).click()
    expect(page.get_by_role("button", name="Cancel")).to_be_focused()
    page.keyboard.press("Escape")
    assert len(client.get("/api/conversations")["items"]) == 2
    page.get_by_role("button", name="Delete", exact=True).click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("New chat")
    wait_until(lambda: [item["title"] for item in client.get("/api/conversations")["items"]] == ["Another"], "it is deleted")


def test_archive_tags_and_the_trash(open_page: OpenPage, client: Client, conversation: str) -> None:
    page = open_page(f"#/c/{conversation}")
    view, listed = page.get_by_label("Which conversations"), page.locator("#list li")
    page.get_by_role("button", name="Tags", exact=True).click()
    page.get_by_role("textbox", name="Tags").fill("work, Green tea")
    page.keyboard.press("Enter")
    expect(page.locator("#conversation-tags .badge")).to_have_text(["work", "Green tea"])
    expect(view.locator("optgroup option")).to_have_count(2)
    page.get_by_role("button", name="Archive", exact=True).click()
    expect(page.get_by_role("button", name="Archive", exact=True)).to_have_attribute("aria-pressed", "true")
    expect(listed).to_have_count(0)
    view.select_option("Archived")
    expect(listed).to_have_count(1)
    photograph(page, "tags")
    page.get_by_role("button", name="Archive", exact=True).click()
    view.select_option("tag=work")
    expect(listed).to_have_count(1)
    page.get_by_role("button", name="Delete", exact=True).click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(listed).to_have_count(0)
    view.select_option("Deleted")
    page.get_by_role("button", name="Restore").click()
    expect(listed).to_have_count(0)
    view.select_option("Conversations")
    expect(listed).to_have_count(1)
    assert client.get(f"/api/conversations/{conversation}")["tags"] == ["work", "Green tea"]


def test_conversations_are_taken_along(open_page: OpenPage, client: Client, conversation: str) -> None:
    client.ask(conversation, "green tea")
    page = open_page(f"#/c/{conversation}")
    expect(page.locator(".reply > .text")).to_have_text("green tea")
    with page.expect_download() as one:
        page.get_by_role("button", name="Download", exact=True).click()
    assert one.value.suggested_filename == f"conversation-{conversation}.md"
    assert "green tea" in one.value.path().read_text()
    with page.expect_download() as everything:
        page.get_by_role("button", name="Download all conversations").click()
    assert everything.value.suggested_filename.endswith(".jsonl")
    assert conversation in everything.value.path().read_text()


def test_a_phone_shows_the_list_over_the_conversation(open_page: OpenPage, client: Client, conversation: str) -> None:
    client.ask(conversation, "What is the sea?")
    page = open_page(viewport=PHONE)
    expect(page.locator("#sidebar")).to_be_hidden()
    page.get_by_role("button", name="Conversations", exact=True).click()
    expect(page.get_by_role("button", name="Close the list of conversations")).to_be_focused()
    page.screenshot(path=SCREENSHOTS / "page-list-phone.png", animations="disabled")
    page.get_by_role("link", name="What is the sea?").click()
    expect(page.locator("#sidebar")).to_be_hidden()
    expect(page.locator(".reply > .text")).to_have_text("What is the sea?")


def test_dark_and_light_can_be_chosen(open_page: OpenPage) -> None:
    page = open_page(color_scheme="light")
    paper = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(paper)
    page.get_by_label("Appearance").select_option("dark")
    assert page.evaluate(paper) != light
    page.reload()
    expect(page.get_by_label("Appearance")).to_have_value("dark")
    assert page.evaluate(paper) != light


def test_everything_has_a_name_and_can_be_reached_with_the_keyboard(
    open_page: OpenPage, client: Client, conversation: str
) -> None:
    client.ask(conversation, "hello")
    page = open_page(f"#/c/{conversation}")
    expect(page.get_by_role("button", name="Write another reply")).to_be_visible()
    unnamed = page.evaluate(
        """[...document.querySelectorAll("button, input, textarea, select, a, nav, aside, section[id], dialog")]
        .filter((node) => !(node.ariaLabel || node.textContent.trim() || node.labels?.length
            || document.getElementById(node.getAttribute("aria-labelledby")))).map((node) => node.outerHTML)"""
    )
    assert unnamed == []
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map((node) => node.id)")
    assert len(ids) == len(set(ids))
    page.locator("body").press("Tab")
    page.evaluate("document.activeElement.blur()")
    reached = []
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate("document.activeElement.ariaLabel || document.activeElement.id || document.activeElement.innerText")
        )
    wanted = ["skip", "new-chat", "search", "view", "hello", "appearance", "log-out", "Favourite"]
    for name in [
        *wanted,
        "Tags",
        "Archive",
        "Rename",
        "Delete",
        "Edit",
        "Copy",
        "Good reply",
        "Write another reply",
        "question",
        "Send",
    ]:
        assert name in reached, reached


def test_trying_again_after_an_outage_follows_the_reply_that_still_runs(
    open_page: OpenPage, client: Client, upstream: ScriptedUpstream
) -> None:
    gate = upstream.gate()
    upstream.script(tokens("one "), hold(gate), tokens("two"), done())
    page = open_page()
    # The send arrives, but nothing of its answer reaches the page.
    unreachable = {"status": 500, "json": {"detail": "Lost.", "code": "lost"}}

    def lose_the_answer(route: Route) -> None:
        if route.request.method == "POST":
            sent = {"Authorization": f"Bearer {client.token}", "Prefer": "respond-async"}
            route.fetch(headers={**route.request.headers, **sent})
        route.fulfill(**unreachable)

    page.route("**/messages*", lose_the_answer)
    ask(page, "count")
    expect(page.locator(".problem")).to_be_visible()
    page.unroute("**/messages*")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(".reply > .text")).to_have_text("one")
    gate.open()
    expect(page.get_by_role("button", name="Write another reply")).to_be_visible()
    assert contents(client) == ["count", "one two"]
    assert page.locator(".question .text").all_inner_texts() == ["count"]


def test_a_link_with_another_token_asks_first(open_page: OpenPage, client: Client, conversation: str) -> None:
    page = open_page(f"#/c/{conversation}")
    page.evaluate("location.hash = '#token=of-somebody-else'")
    expect(page.get_by_role("button", name="Stay logged in")).to_be_focused()
    assert "token" not in page.url
    page.keyboard.press("Enter")
    assert page.evaluate("sessionStorage.token") == client.token
    assert page.url.endswith(f"#/c/{conversation}")
    page.evaluate("location.hash = '#token=of-somebody-else'")
    page.get_by_role("button", name="Switch").click()
    expect(page.locator("#login")).to_be_visible()


@pytest.mark.parametrize("status", [401, 409, 413])
def test_a_refused_message_goes_back_into_the_box(open_page: OpenPage, client: Client, conversation: str, status: int) -> None:
    page = open_page(f"#/c/{conversation}")
    expect(page.get_by_role("heading", level=1)).to_have_text("New conversation")
    refused = {"status": status, "json": {"detail": "Refused.", "code": "refused"}}
    page.route("**/messages", lambda route: route.fulfill(**refused) if route.request.method == "POST" else route.continue_())
    ask(page, "typed with care")
    expect(page.get_by_label("Message", exact=True) if status != 401 else page.locator("#question")).to_have_value(
        "typed with care"
    )
    expect(page.locator(".question")).to_have_count(0)


def test_markdown_is_shown_and_only_safe_links_are_links(
    open_page: OpenPage, client: Client, upstream: ScriptedUpstream
) -> None:
    text = (
        "1. one\n   - inner\n2. two\n\n| a | b |\n|---|---|\n| 1 | *2* |\n\n> said\n\n"
        "[bad](javascript:alert) [good](https://example.org/x) and https://example.org/y. <b>plain</b>"
    )
    upstream.script(tokens(text), done())
    page = open_page()
    ask(page, "show")
    expect(page.get_by_role("button", name="Write another reply")).to_be_visible()
    assert page.locator(".reply ol > li").count() == 2
    assert page.locator(".reply ol > li ul > li").all_inner_texts() == ["inner"]
    assert page.locator(".reply td em").all_inner_texts() == ["2"]
    assert page.locator(".reply blockquote").inner_text() == "said"
    links = page.locator(".reply a").evaluate_all("links => links.map((link) => [link.href, link.rel])")
    assert links == [["https://example.org/x", "noopener noreferrer"], ["https://example.org/y", "noopener noreferrer"]]
    assert page.locator(".reply b").count() == 0
    photograph(page, "markdown")


MARKDOWN = """1. First
   - inner
     1. deep

   A paragraph of the first.

   ```sh
   run
     it
   ```
2. [ ] Second

````md
```js
inside
```
````
~~~
tilde
~~~

| a | b |
|---|---|
| x \\| y | `p|q` |

***both*** **bold *and* more** __strong__ snake_case_name 2*3*4
[w](https://example.org/a_(b)) <https://example.org/c> ![picture](https://example.org/d.png) (https://example.org/e)
"""


def test_markdown_as_models_write_it(open_page: OpenPage, upstream: ScriptedUpstream) -> None:
    upstream.script(tokens(*re.findall(r"(?s).{1,9}", MARKDOWN)), done())
    page = open_page()
    ask(page, "show")
    expect(page.get_by_role("button", name="Write another reply")).to_be_visible()
    reply = page.locator(".reply > .text")
    assert reply.locator("> ol").count() == 1
    assert reply.locator("> ol > li > ul > li > ol > li").all_inner_texts() == ["deep"]
    assert reply.locator("> ol > li > p").all_inner_texts() == ["A paragraph of the first."]
    assert reply.locator("> ol > li:last-child").inner_text() == "☐ Second"
    assert reply.locator("pre").all_text_contents() == ["run\n  it", "```js\ninside\n```", "tilde"]
    assert reply.locator("td").all_inner_texts() == ["x | y", "p|q"]
    assert reply.locator("strong").all_inner_texts() == ["both", "bold and more", "strong"]
    assert reply.locator("em").all_inner_texts() == ["both", "and"]
    addresses = reply.locator("a").evaluate_all("links => links.map((link) => link.pathname)")
    assert addresses == ["/a_(b)", "/c", "/d.png", "/e"]
    assert reply.locator("img").count() == 0
    photograph(page, "more-markdown")


def test_a_reload_keeps_what_was_typed_and_logging_out_does_not(open_page: OpenPage) -> None:
    page = open_page()
    box = page.get_by_label("Message", exact=True)
    box.fill("half a thought")
    page.reload()
    expect(box).to_have_value("half a thought")
    page.get_by_role("button", name="Log out").click()
    page.reload()
    expect(page.locator("#login")).to_be_visible()
    expect(box).to_have_value("")


@pytest.mark.parametrize("is_sent", [True, False], ids=["sent", "open"])
def test_an_edit_outlives_its_token(open_page: OpenPage, client: Client, is_sent: bool) -> None:
    page = open_page()
    ask(page, "a question")
    page.get_by_role("button", name="Edit").click()
    page.get_by_label("Edit your message").fill("a better question")
    page.evaluate("sessionStorage.setItem('token', 'expired')")
    if is_sent:
        page.keyboard.press("Enter")
    else:
        # The page may have noticed by itself, and hidden the box.
        page.locator("#search").evaluate("(box) => { box.value = 'anything'; box.dispatchEvent(new Event('input')) }")
    expect(page.locator("#login")).to_be_visible()
    page.locator("#token").fill(client.token)
    page.keyboard.press("Enter")
    expect(page.get_by_label("Message", exact=True)).to_have_value("a better question")


def test_a_long_reply_can_be_scrolled_while_it_grows(open_page: OpenPage, client: Client, upstream: ScriptedUpstream) -> None:
    gate = upstream.gate()
    paragraphs = [f"Paragraph {number}. {'word ' * 200}\n\n" for number in range(200)]
    upstream.script(tokens(*paragraphs), hold(gate), tokens("The end."), done())
    page = open_page()
    ask(page, "go")
    expect(page.locator(".reply > .text")).to_contain_text("Paragraph 199")
    page.locator("#thread").hover()
    page.mouse.wheel(0, -60)
    gate.open()
    expect(page.locator(".reply > .text")).to_contain_text("The end.")
    place = page.locator("#thread").evaluate("(node) => node.scrollHeight - node.scrollTop - node.clientHeight")
    assert place > 30
    assert page.locator(".reply > .text p").count() == 201
