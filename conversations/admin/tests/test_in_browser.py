"""Staff at work, in a real browser against a live server; each page is photographed light, dark and on a phone."""

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import axe_playwright_python
import pytest
from django.utils import timezone
from playwright.sync_api import Browser, Page, expect

from conversations.models import Conversation, Message, RefusedRequests, UsageTotal, UserQuota
from conversations.tests.factories import USER_ID, make_conversation
from tests.support.browser import DESKTOP, EXPECT_LIMIT_S, PHONE, SCREENSHOTS, chromium, open_browser

from .factories import TRACE_ID, make_chat_user, make_long_conversation, make_message, make_staff

pytestmark = [
    pytest.mark.slow,
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(chromium() is None, reason="chromium is not installed (apt-get install chromium)"),
]

AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text()
LIST = "/admin/conversations/conversation/"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as opened:
        yield opened


@pytest.fixture
def page(browser: Browser, live_server) -> Iterator[Page]:
    """A page signed in as a superuser; fails the test where a script failed or something was fetched from elsewhere."""
    make_staff("root", superuser=True, password="root")
    context = browser.new_context(viewport=DESKTOP, base_url=live_server.url, accept_downloads=True)
    context.set_default_timeout(EXPECT_LIMIT_S * 1000)
    opened = context.new_page()
    problems: list[str] = []
    opened.on("pageerror", lambda error: problems.append(str(error)))
    # What the Content-Security-Policy refuses is an error on the console.
    opened.on("console", lambda line: problems.append(line.text) if "Content Security Policy" in line.text else None)
    opened.on("request", lambda request: request.url.startswith(live_server.url) or problems.append(request.url))
    _log_in(opened)
    yield opened
    context.close()
    assert problems == []


def _log_in(page: Page) -> None:
    page.goto("/admin/")
    page.fill("input[name=username]", "root")
    page.fill("input[name=password]", "root")
    page.click("input[type=submit]")
    expect(page.locator("#user-tools")).to_contain_text("root")


def _photograph(page: Page, name: str) -> None:
    """Photograph a page light, dark and on a phone, and see that it fits the phone's width."""
    SCREENSHOTS.mkdir(exist_ok=True)
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.screenshot(path=SCREENSHOTS / f"{name}-{scheme}.png", full_page=True, animations="disabled")
    page.emulate_media(color_scheme="light")
    page.set_viewport_size(PHONE)
    page.screenshot(path=SCREENSHOTS / f"{name}-phone.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], f"{name} is wider than a phone"
    page.set_viewport_size(DESKTOP)


def findings(page: Page) -> list[tuple[str, list[str]]]:
    """Return the rules of axe that the page breaks, each with the elements that break it."""
    page.evaluate(AXE)
    broken = page.evaluate("axe.run({preload: false}).then((found) => found.violations)")
    return [(rule["id"], [node["html"][:200] for node in rule["nodes"]]) for rule in broken]


def _make_telling_conversation() -> Conversation:
    """Make a conversation with one of everything that a reader can meet."""
    conversation = make_conversation(title="Sorting a list in Python")
    asked = make_message(conversation, "user", "How do I sort a list of people by age?")
    code = "Use a key:\n\n```python\npeople.sort(key=lambda person: person.age)\n```\n\nIt is <b>stable</b> & in place."
    measured = {"token_count": 38, "prompt_tokens": 120, "first_token_ms": 212, "inference_time_ms": 1840, "model_tag": "d24"}
    make_message(conversation, "assistant", "You can't.", minute=1, parent=asked, is_active=False, feedback=-1, **measured)
    comment = {"feedback": 1, "feedback_comment": "Just what I needed"}
    make_message(conversation, "assistant", code, minute=2, parent=asked, **measured, **comment)
    make_message(conversation, "user", "And backwards? " * 12, minute=60 * 24)
    failed = {"status": "failed", "error_code": "upstream_timeout"}
    make_message(conversation, "assistant", "Pass reverse", minute=60 * 24 + 1, **failed)
    make_message(conversation, "user", "Hello?", minute=60 * 24 + 5)
    make_message(conversation, "assistant", "I was", minute=60 * 24 + 6, status="stopped")
    return conversation


def _make_busy_month() -> None:
    """Make messages on each of the last 30 days, more and slower ones towards the end."""
    now = timezone.now()
    conversation = make_conversation(title="Busy")
    Message.objects.bulk_create(
        Message(
            conversation=conversation,
            role="assistant" if number % 2 else "user",
            content="x",
            created_at=now - timedelta(days=back, minutes=1),
            status="failed" if number % 2 and (number + back) % 13 == 0 else "complete",
            token_count=40 + number if number % 2 else None,
            first_token_ms=150 + 9 * number - 2 * back if number % 2 else None,
            inference_time_ms=900 + 60 * number if number % 2 else None,
        )
        for back in range(30)
        for number in range(60 - back)
    )


def test_long_names_break_no_page(page: Page) -> None:
    """Without a space, a line of text has no place to break."""
    address = "a" * 64 + "@" + "b" * 60 + ".example"
    make_chat_user(email=address, name="n" * 150, last_seen_at=timezone.now(), first_seen_at=timezone.now())
    conversation = make_conversation(title="t" * 500, model_tag="m" * 100, tags=["g" * 50, "h" * 50], tag_keys=["g" * 50])
    failed = {"status": "failed", "error_code": "e" * 50, "upstream_code": "u" * 64, "trace_id": "i" * 64}
    asked = make_message(conversation, "user", "w" * 2_000)
    make_message(conversation, "assistant", "```\n" + "c" * 500 + "\n```", parent=asked, model_tag="m" * 100, **failed)
    UserQuota.objects.create(user_id=USER_ID, tokens_day=5)
    for path in (
        LIST,
        f"{LIST}{conversation.pk}/change/",
        "/admin/conversations/chatuser/",
        f"/admin/conversations/chatuser/{USER_ID}/change/",
        "/admin/conversations/userquota/",
        "/admin/conversations/staffaccess/",
    ):
        for viewport in (DESKTOP, PHONE):
            page.set_viewport_size(viewport)
            page.goto(path)
            width = page.evaluate("document.documentElement.scrollWidth")
            assert width <= viewport["width"], f"{path} is {width} px wide"


def test_staff_find_a_conversation_and_read_it(page: Page) -> None:
    make_chat_user(name="Ada Lovelace", last_seen_at=timezone.now(), first_seen_at=timezone.now())
    wanted = _make_telling_conversation()
    for number in range(30):
        make_conversation(title=f"Something else {number}", updated_at=timezone.now() - timedelta(hours=number))
    page.goto("/admin/")
    _photograph(page, "index")
    page.fill("#staff-q", "person.age")
    page.press("#staff-q", "Enter")
    expect(page.locator(".found li")).to_have_count(1)
    expect(page.locator(".found")).to_contain_text("ada@example.com")
    expect(page.locator(".found mark").first).to_be_visible()
    _photograph(page, "found")
    assert findings(page) == []
    page.goto(LIST)
    page.keyboard.press("/")
    expect(page.locator("[data-find]")).to_be_focused()
    _photograph(page, "list")
    page.goto(f"{LIST}?q=person.age")
    page.click(f"text={wanted.title}")
    expect(page.locator(".chat-assistant.chat-wanted")).to_contain_text("It is <b>stable</b> & in place.")
    expect(page.locator(".chat-text pre")).to_have_text("people.sort(key=lambda person: person.age)")
    expect(page.locator(".chat-error")).to_have_text("upstream_timeout")
    other = page.locator(".chat-versions .chat-message")
    expect(other).to_be_hidden()
    page.click(".chat-versions summary")
    expect(other).to_be_visible()
    expect(other).to_contain_text("You can't.")
    _photograph(page, "chat")


def test_older_messages_come_in_above_without_leaving_the_page(page: Page) -> None:
    conversation = make_long_conversation(60)
    page.goto(f"{LIST}{conversation.pk}/change/")
    messages = page.locator(".chat-message")
    expect(messages).to_have_count(50)
    expect(messages.last).to_contain_text("Answer number 59")
    address = page.url
    page.click("text=Older messages")
    expect(messages).to_have_count(100)
    page.click("text=Older messages")
    expect(messages).to_have_count(120)
    expect(messages.first).to_contain_text("Question number 0")
    expect(page.locator(".chat-older")).to_have_count(0)
    assert page.url == address
    texts = [text.strip() for text in page.locator(".chat-message .chat-text").all_inner_texts()]
    assert texts == [f"{kind} number {number}" for number in range(60) for kind in ("Question", "Answer")]


def test_a_users_page_lists_their_conversations_page_by_page(page: Page) -> None:
    make_chat_user(name="Ada Lovelace", last_seen_at=timezone.now(), first_seen_at=timezone.now())
    for number in range(60):
        made = make_conversation(title=f"Question {number}", updated_at=timezone.now() - timedelta(hours=number))
        if number < 3:
            make_message(made, "assistant", "No", status=("complete", "failed", "interrupted")[number], token_count=7)
    page.goto("/admin/conversations/chatuser/")
    page.fill("#searchbar", "ADA@")
    page.press("#searchbar", "Enter")
    page.click("#result_list >> text=ada@example.com")
    expect(page.locator(".rows").last.locator("tbody tr")).to_have_count(50)
    expect(page.locator(".cards")).to_contain_text("60 conversations")
    _photograph(page, "user")
    page.click("text=Older conversations")
    expect(page.locator(".rows").last.locator("tbody tr")).to_have_count(10)
    assert str(USER_ID) in page.url


def test_a_selection_is_exported(page: Page) -> None:
    make_long_conversation(2, title="Wanted")
    make_conversation(title="Not wanted")
    page.goto(LIST)
    page.locator("#result_list tr", has=page.get_by_role("link", name="Wanted", exact=True)).locator(
        "input.action-select"
    ).check()
    page.select_option("select[name=action]", "export_as_jsonl")
    with page.expect_download() as download:
        page.click("button[name=index]")
    lines = [json.loads(line) for line in download.value.path().read_text().splitlines()]
    assert [line["message"]["content"] for line in lines] == [
        "Question number 0",
        "Answer number 0",
        "Question number 1",
        "Answer number 1",
    ]
    assert {line["conversation"]["title"] for line in lines} == {"Wanted"}


def test_deleting_asks_first(page: Page) -> None:
    doomed = make_long_conversation(3, title="Doomed")
    kept = make_conversation(title="Kept")
    page.goto(f"{LIST}{doomed.pk}/change/")
    page.click("text=Delete…")
    expect(page.locator(".confirm")).to_contain_text("1 conversation with 6 messages will be deleted permanently")
    _photograph(page, "delete")
    assert Conversation.objects.count() == 2
    page.click("text=Yes, delete")
    expect(page.locator(".messagelist")).to_contain_text("Deleted 1 conversation.")
    assert list(Conversation.objects.values_list("id", flat=True)) == [kept.pk]
    assert not Message.objects.exists()


def test_the_dashboard_draws_the_last_month(page: Page) -> None:
    _make_busy_month()
    page.goto("/admin/")
    page.click("text=Dashboard")
    expect(page.locator("figure.chart svg")).to_have_count(6)
    expect(page.locator("figure.chart").first.locator(".chart-bar")).to_have_count(30)
    page.click("text=Show as a table")
    expect(page.locator(".figures tbody tr")).to_have_count(30)
    page.click("text=Show as a table")
    _photograph(page, "dashboard")


def test_the_login_page_fits_every_screen(page: Page) -> None:
    page.context.clear_cookies()
    page.goto("/admin/login/")
    expect(page.locator("#login-form")).to_be_visible()
    _photograph(page, "login")


def test_staff_work_through_the_feedback(page: Page) -> None:
    make_chat_user(name="Ada Lovelace")
    rated = _make_telling_conversation()
    wrong = {"feedback": -1, "feedback_comment": "It is wrong: " + "the list stays unsorted. " * 8, "model_tag": "d24"}
    make_message(rated, "assistant", "Wrong", minute=60 * 24 + 8, **wrong)
    page.goto(f"{LIST}feedback/")
    expect(page.locator(".feedback li")).to_have_count(3)
    _photograph(page, "feedback")
    assert findings(page) == []
    page.locator(".feedback li").first.get_by_role("textbox").fill("Reported to the team")
    page.locator(".feedback li").first.get_by_role("button", name="Mark as handled").click()
    expect(page.locator(".feedback li")).to_have_count(2)
    page.locator("select[name=state]").select_option("handled")
    page.get_by_role("button", name="Show").click()
    expect(page.locator(".feedback li")).to_contain_text("Handled by root")
    page.locator(".feedback li a").first.click()
    expect(page.locator(".chat-wanted")).to_contain_text("Wrong")


def test_staff_look_into_failures(page: Page) -> None:
    now = timezone.now()
    conversation = make_conversation(title="Bread")
    asked = make_message(conversation, "user", "How long does it rise?", created_at=now - timedelta(hours=2))
    told = {"upstream_status": 529, "upstream_code": "overloaded_error", "trace_id": TRACE_ID}
    sent = {"context": {"messages": 7, "characters": 12345, "left_out": 3, "reason": "budget"}, "first_token_ms": 340}
    failed = {"status": "failed", "error_code": "upstream_busy", "model_tag": "d32", "inference_time_ms": 4200}
    at = {"created_at": now - timedelta(hours=1, minutes=59)}
    make_message(conversation, "assistant", "About", parent=asked, **failed, **told, **sent, **at)
    for number in range(40):
        code = "upstream_timeout" if number % 3 else "no_answer"
        other = {"status": "failed", "error_code": code, "model_tag": f"d{number % 2}", "upstream_status": 504}
        at = {"created_at": now - timedelta(minutes=number * number)}
        make_message(make_conversation(title=f"Other {number}"), "assistant", "", **other, **at)
    page.goto(f"{LIST}{conversation.pk}/change/")
    expect(page.locator(".chat-failure")).to_contain_text("The inference service had too many requests.")
    _photograph(page, "failure")
    assert findings(page) == []
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy the trace id").click()
    expect(page.get_by_role("button", name="Copy the trace id")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == told["trace_id"]
    page.click("text=Other failures of this model at that time")
    expect(page.locator(".found li")).to_have_count(1)
    page.get_by_role("navigation", name="Main").get_by_text("Failures").click()
    page.locator("tbody tr a").first.click()
    expect(page.locator(".found li").first).to_be_visible()
    _photograph(page, "failures")
    assert findings(page) == []


def test_staff_look_at_a_person_for_a_reason(page: Page, settings: Any) -> None:
    settings.ADMIN_REASON, settings.QUOTA_TOKENS_DAY, settings.QUOTA_TOKENS_MONTH = "required", 50_000, 200_000
    now = timezone.now()
    make_chat_user(name="Ada Lovelace", last_seen_at=now, first_seen_at=now - timedelta(days=90))
    for back in range(30):
        used = {"messages": 20 + back % 7, "replies": 20, "tokens": 42_000 - 900 * back}
        UsageTotal.objects.create(user_id=USER_ID, bucket=now - timedelta(days=back), **used)
    _make_telling_conversation()
    page.goto(f"/admin/conversations/chatuser/{USER_ID}/change/")
    expect(page.get_by_role("heading", name="What for?")).to_be_visible()
    _photograph(page, "reason")
    assert findings(page) == []
    page.get_by_label("What for").fill("Ticket 4711")
    page.get_by_role("button", name="Go on").click()
    expect(page.locator("#content")).to_contain_text("Sorting a list in Python")
    expect(page.locator("#user-tools")).to_contain_text("For: Ticket 4711")
    page.reload()
    page.click("text=Who read, exported, deleted")
    _photograph(page, "person")
    assert findings(page) == []
    page.click("text=Users near their quota")
    expect(page.locator(".rows")).to_contain_text("ada@example.com")
    _photograph(page, "near-quota")
    assert findings(page) == []
    page.goto("/admin/conversations/staffaccess/")
    expect(page.locator("#result_list")).to_contain_text("Ticket 4711")
    _photograph(page, "access")


def test_a_user_is_erased_with_a_receipt(page: Page) -> None:
    now = timezone.now()
    make_chat_user(name="Ada Lovelace", last_seen_at=now, first_seen_at=now - timedelta(days=90))
    _make_telling_conversation()
    for back in range(10):
        day = (now - timedelta(days=back)).date()
        RefusedRequests.objects.create(user_id=USER_ID, day=day, limited=40 * back, other=back)
    page.goto(f"/admin/conversations/chatuser/{USER_ID}/change/")
    expect(page.get_by_role("heading", name="Refused requests")).to_be_visible()
    _photograph(page, "person-buttons")
    assert findings(page) == []
    page.click("text=Erase…")
    _photograph(page, "erase")
    assert findings(page) == []
    page.get_by_label("Type ada@example.com to confirm").fill("ada@example.com")
    page.get_by_role("button", name="Yes, erase").click()
    expect(page.locator(".receipt")).to_contain_text('"is_complete": true')
    _photograph(page, "erased")
    assert findings(page) == []
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy the receipt").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert json.loads(page.evaluate("navigator.clipboard.readText()"))["conversations"] == 1
    assert not Conversation.objects.exists()
