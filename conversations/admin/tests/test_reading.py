"""A conversation's page."""

from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from django.test import Client

from conversations.admin.chat import CHARACTERS_SHOWN
from conversations.models import Conversation, Message, QueuedMessage, UsageTotal
from conversations.tests.factories import NOON, USER_ID, make_conversation

from .factories import make_chat_user, make_long_conversation, make_message

pytestmark = pytest.mark.django_db


def address(conversation: Conversation, query: str = "") -> str:
    return f"/admin/conversations/conversation/{conversation.pk}/change/{query}"


def shown(answer) -> list[str]:
    return [entry.message.text for entry in answer.context["page"].entries]


def test_the_newest_page_comes_first_and_each_message_once(support: Client) -> None:
    conversation = make_long_conversation(60)
    pages, query = [], ""
    while True:
        answer = support.get(address(conversation, query))
        pages.insert(0, shown(answer))
        if not (cursor := answer.context["page"].older_cursor):
            break
        query = f"?before={cursor}"
    assert [len(page) for page in pages] == [20, 50, 50]
    assert [text for page in pages for text in page] == [
        f"{kind} number {number}" for number in range(60) for kind in ("Question", "Answer")
    ]


@pytest.mark.parametrize(
    "query", ["?before=nonsense", "?before=%00", "?message=nonsense", f"?message={UUID(int=7)}", "?whole=x"]
)
def test_a_mistyped_address_shows_the_newest_page(support: Client, query: str) -> None:
    conversation = make_long_conversation(30)
    assert shown(support.get(address(conversation, query)))[-1] == "Answer number 29"


def test_messages_without_a_time_are_shown(support: Client) -> None:
    conversation = make_conversation()
    make_message(conversation, "user", "Dated")
    make_message(conversation, "assistant", "Undated", created_at=None)
    assert shown(support.get(address(conversation))) == ["Dated", "Undated"]


def test_calls_of_tools_and_their_outputs_are_folded(support: Client) -> None:
    conversation = make_conversation()
    make_message(conversation, "user", "How is the weather?")
    calls = [{"id": "c1", "name": "weather", "arguments": '{"city": "<b>Oslo</b>"}'}]
    make_message(conversation, "assistant", "", tool_calls=calls)
    make_message(conversation, "user", "Sun", tool_calls={"call_id": "c1"})
    page = support.get(address(conversation)).content.decode()
    assert "Calls <code>weather</code> (<code>c1</code>)" in page
    assert "&lt;b&gt;Oslo&lt;/b&gt;" in page
    assert "Output of <code>c1</code>, 3 characters" in page
    assert "Empty" not in page


def test_a_wanted_message_is_shown_among_its_neighbours(support: Client) -> None:
    conversation = make_long_conversation(100)
    wanted = Message.objects.get(content="Answer number 40")
    page = support.get(address(conversation, f"?message={wanted.pk}"))
    texts = shown(page)
    assert texts[-11] == "Answer number 40"
    assert page.context["page"].older_cursor and not page.context["page"].is_newest
    assert f'chat-wanted" id="message-{wanted.pk}"' in page.content.decode()


def test_the_versions_of_an_answer_stand_together(support: Client) -> None:
    conversation = make_conversation()
    asked = make_message(conversation, "user", "Which?")
    make_message(conversation, "assistant", "First", minute=1, parent=asked, is_active=False)
    make_message(conversation, "assistant", "Second", minute=2, parent=asked)
    make_message(conversation, "assistant", "Third", minute=3, parent=asked, is_active=False)
    entries = support.get(address(conversation)).context["page"].entries
    assert [(entry.message.text, [other.text for other in entry.others]) for entry in entries] == [
        ("Which?", []),
        ("Second", ["First", "Third"]),
    ]


def test_what_was_written_is_shown_as_written(support: Client) -> None:
    conversation = make_conversation(title="<script>title</script>")
    make_message(conversation, "user", "<script>alert(1)</script>\n```html\n<b>&amp;</b>\n```\nafter")
    make_message(conversation, "assistant", "ok", feedback=-1, feedback_comment="<i>no</i>", error_code="<u>")
    page = support.get(address(conversation)).content.decode()
    for raw in ("<script>alert", "<script>title", "<i>no</i>", "<u>", "<b>&amp;"):
        assert raw not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;<pre>&lt;b&gt;&amp;amp;&lt;/b&gt;</pre>after" in page


def test_how_a_reply_went_is_told(support: Client) -> None:
    conversation = make_conversation()
    went = {"status": "failed", "error_code": "upstream_timeout", "model_tag": "d32", "token_count": 17, "prompt_tokens": 99}
    times = {"first_token_ms": 321, "inference_time_ms": 4321, "finish_reason": "length"}
    opinion = {"feedback": -1, "feedback_comment": "It stopped"}
    said = {"upstream_finish": "MAX_<b>TOKENS", "upstream_status": 529, "upstream_code": "overloaded_error", "trace_id": "t-1"}
    make_message(conversation, "assistant", "Half", **went, **times, **opinion, **said, context={"left_out": 3})
    page = support.get(address(conversation)).content.decode()
    for told in (
        "badge-failed",
        "upstream_timeout",
        "d32",
        "17 tokens, 99 in the prompt",
        "first token 321 ms",
        "total 4.3 s",
        "finish reason: length",
        "upstream's word: <code>MAX_&lt;b&gt;TOKENS</code>",
        "upstream status 529",
        "upstream code <code>overloaded_error</code>",
        "trace <code>t-1</code>",
        "Bad answer",
        "It stopped",
        "3 older messages not sent",
    ):
        assert told in page, told


def test_a_very_long_message_is_whole_only_on_demand(support: Client) -> None:
    conversation = make_conversation()
    message = make_message(conversation, "assistant", "x" * (CHARACTERS_SHOWN + 500))
    page = support.get(address(conversation))
    assert shown(page) == ["x" * CHARACTERS_SHOWN]
    assert f"Show all {CHARACTERS_SHOWN + 500} characters" in page.content.decode()
    assert shown(support.get(address(conversation, f"?whole={message.pk}"))) == [message.content]


def test_a_conversation_that_is_not_there(support: Client) -> None:
    for gone in (uuid4(), "nonsense"):
        answer = support.get(f"/admin/conversations/conversation/{gone}/change/")
        assert (answer.status_code, answer["Location"]) == (302, "/admin/")


def test_an_empty_conversation_without_a_user(support: Client) -> None:
    page = support.get(address(make_conversation(user_id=None))).content.decode()
    assert "No messages yet." in page and "anonymous" in page


def test_the_page_is_not_kept_by_browsers(support: Client) -> None:
    assert "no-store" in support.get(address(make_conversation()))["Cache-Control"]


def test_a_pages_queries_do_not_grow_with_the_conversation(support: Client, django_assert_num_queries) -> None:
    short, long = make_long_conversation(1), make_long_conversation(300)
    # The session is noted once a minute.
    support.get("/admin/")
    for conversation in (short, long):
        # Session, user, second factor, permissions twice (the user's, the groups'), conversation, messages, what waits, whether
        # it is noted, note, summary.
        with django_assert_num_queries(11):
            support.get(address(conversation))


def test_messages_that_wait_for_their_turn_come_last(support: Client) -> None:
    conversation = make_long_conversation(1)
    for place, is_held in ((2, True), (1, False)):
        QueuedMessage.objects.create(
            id=uuid4(),
            conversation=conversation,
            reply_id=uuid4(),
            place=place,
            content=f"waiting {place}",
            request={},
            is_held=is_held,
        )
    page = support.get(address(conversation)).content.decode()
    assert page.index("Answer number 0") < page.index("waiting 1") < page.index("waiting 2")
    assert "Waits for its turn" in page and "Waits since a stop" in page


def test_a_users_page_adds_up(support: Client) -> None:
    make_chat_user(name="Ada")
    conversation = make_conversation()
    make_message(conversation, "user", "?", token_count=1000)
    make_message(conversation, "assistant", "!", token_count=7, feedback=1)
    make_message(conversation, "assistant", "", token_count=5, status="interrupted", feedback=-1)
    make_message(make_conversation(user_id=None), "assistant", "another's", token_count=9)
    totals = support.get(f"/admin/conversations/chatuser/{USER_ID}/change/").context["totals"]
    expected = {"conversations": "1", "messages": 3, "tokens": 12, "failures": 1, "up": 1, "down": 1, "is_partial": False}
    assert totals == expected


def test_a_users_totals_say_where_they_stop(support: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("conversations.admin.users.MOST_CONVERSATIONS_COUNTED", 1)
    make_conversation()
    make_conversation()
    totals = support.get(f"/admin/conversations/chatuser/{USER_ID}/change/").context["totals"]
    assert (totals["conversations"], totals["is_partial"]) == ("1+", True)


def test_a_user_outside_the_directory_has_a_page(support: Client) -> None:
    make_conversation(title="Old times")
    assert "Old times" in support.get(f"/admin/conversations/chatuser/{USER_ID}/change/").content.decode()
    unknown = UUID("22222222-2222-4222-8222-222222222222")
    assert support.get(f"/admin/conversations/chatuser/{unknown}/change/").status_code == 302


def test_a_users_conversations_are_paged(support: Client) -> None:
    for number in range(55):
        make_conversation(title=f"Number {number}")
    first = support.get(f"/admin/conversations/chatuser/{USER_ID}/change/")
    second = support.get(f"/admin/conversations/chatuser/{USER_ID}/change/?before={first.context['older_cursor']}")
    titles = [one.title for page in (first, second) for one in page.context["conversations"]]
    assert sorted(titles) == sorted(f"Number {number}" for number in range(55))
    assert second.context["older_cursor"] == ""


def test_what_the_model_thought_is_folded_away(support: Client) -> None:
    conversation = make_conversation()
    make_message(conversation, "assistant", "Yes", reasoning="Hm <b>")
    long = make_message(conversation, "assistant", "No", reasoning="m" * (CHARACTERS_SHOWN + 1), minute=1)
    page = support.get(address(conversation)).content.decode()
    assert '<details class="chat-thought">' in page
    assert "Hm &lt;b&gt;" in page
    assert "m" * (CHARACTERS_SHOWN + 1) not in page
    whole = support.get(address(conversation, f"?message={long.pk}&whole={long.pk}")).content.decode()
    assert "m" * (CHARACTERS_SHOWN + 1) in whole


def test_a_message_without_reasoning_has_nothing_folded(support: Client) -> None:
    conversation = make_conversation()
    make_message(conversation, "assistant", "Yes")
    assert "chat-thought" not in support.get(address(conversation)).content.decode()


def test_a_failed_reply_shows_its_id_and_an_earlier_one_is_seen_in_the_list(support: Client) -> None:
    conversation = make_conversation()
    failed = make_message(conversation, "assistant", "", status="failed", error_code="upstream_error")
    make_message(conversation, "assistant", "fine", minute=1)
    assert f"message <code>{failed.pk}</code>" in support.get(address(conversation)).content.decode()
    for page in ("/admin/conversations/conversation/", f"/admin/conversations/chatuser/{USER_ID}/change/"):
        assert "Earlier: failed" in support.get(page).content.decode(), page
    Message.objects.filter(pk=failed.pk).delete()
    assert "Earlier:" not in support.get("/admin/conversations/conversation/").content.decode()


def test_what_a_client_brought_is_shown_as_such(support: Client) -> None:
    conversation = make_conversation()
    make_message(conversation, "assistant", "invented", source="client")
    make_message(conversation, "assistant", "said here", minute=1)
    assert support.get(address(conversation)).content.decode().count("Brought by the client") == 1


def test_a_users_page_tells_stored_from_generated(support: Client) -> None:
    make_chat_user()
    for quarter in (0, 15):
        bucket = NOON + timedelta(minutes=quarter)
        UsageTotal.objects.create(user_id=USER_ID, bucket=bucket, messages=2, replies=1, tokens=1500)
    page = support.get(f"/admin/conversations/chatuser/{USER_ID}/change/")
    assert page.context["usage"] == {"messages": 4, "replies": 2, "tokens": 3000}
    assert page.context["totals"]["messages"] == 0
    assert "<b>3,000</b> tokens generated" in page.content.decode()
