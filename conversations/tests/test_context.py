"""What the model gets to see."""

from functools import partial
from typing import Any

import pytest

from conversations.models import Conversation, Message
from conversations.services import context as context_module
from conversations.services.context import Budget, Context, build_context, count_history, read_history
from conversations.tests.factories import make_conversation, make_message, make_reply, make_running_reply, make_turns

pytestmark = pytest.mark.django_db


@pytest.fixture
def conversation() -> Conversation:
    return make_conversation()


def build(conversation: Conversation, newest: str = "newest", system_prompt: str = "") -> Context:
    history = Message.objects.in_conversation(conversation.id)
    budget = Budget.left_by(newest, system_prompt)
    return build_context(read_history(history, budget), budget, partial(count_history, history))


def contents(context: Context) -> list[str]:
    return [message["content"] for message in context.messages]


def budgets(settings: Any, *, messages: int = 50, characters: int = 6000) -> None:
    settings.MAX_CONVERSATION_HISTORY = messages
    settings.MAX_TOKEN_BUDGET = characters


def test_everything_that_fits_oldest_first(conversation: Conversation) -> None:
    make_turns(conversation, 2)
    context = build(conversation)
    assert contents(context) == ["question 1", "answer 1", "question 2", "answer 2", "newest"]
    assert [message["role"] for message in context.messages] == ["user", "assistant", "user", "assistant", "user"]
    assert context.receipt == {"messages": 5, "characters": 42, "left_out": 0, "reason": None}


def test_the_first_message_stands_alone(conversation: Conversation) -> None:
    assert build(conversation).messages == [{"role": "user", "content": "newest"}]


def test_other_conversations_are_not_seen(conversation: Conversation) -> None:
    make_turns(make_conversation(), 1)
    assert contents(build(conversation)) == ["newest"]


@pytest.mark.parametrize(
    ("most", "prompt", "kept"),
    [
        (5, "", ["question 1", "answer 1", "question 2", "answer 2", "newest"]),
        (4, "", ["answer 1", "question 2", "answer 2", "newest"]),
        (4, "S", ["question 2", "answer 2", "newest"]),
        (2, "", ["answer 2", "newest"]),
        (1, "", ["newest"]),
        (1, "S", ["newest"]),
    ],
)
def test_the_most_messages(conversation: Conversation, settings: Any, most: int, prompt: str, kept: list[str]) -> None:
    budgets(settings, messages=most)
    make_turns(conversation, 2)
    context = build(conversation, system_prompt=prompt)
    assert contents(context) == kept
    left_out = 5 - len(kept)
    assert context.receipt["left_out"] == left_out
    assert context.receipt["reason"] == ("messages" if left_out else None)


@pytest.mark.parametrize(
    ("room", "prompt", "kept"),
    [
        (24, "", ["question 2", "answer 2", "newest"]),
        (23, "", ["answer 2", "newest"]),
        (24, "S", ["answer 2", "newest"]),
        (14, "", ["answer 2", "newest"]),
        (13, "", ["newest"]),
        (6, "", ["newest"]),
        (1, "", ["newest"]),
        (1, "a long prompt", ["newest"]),
    ],
)
def test_the_most_characters(conversation: Conversation, settings: Any, room: int, prompt: str, kept: list[str]) -> None:
    budgets(settings, characters=room)
    make_turns(conversation, 2)
    context = build(conversation, system_prompt=prompt)
    assert contents(context) == kept
    assert context.receipt["characters"] == len("".join(kept)) + len(prompt)
    assert (context.receipt["left_out"], context.receipt["reason"]) == (5 - len(kept), "characters")


def test_nothing_older_than_what_did_not_fit(conversation: Conversation, settings: Any) -> None:
    budgets(settings, characters=30)
    asked = make_message(conversation, "short")
    make_reply(asked, "x" * 100)
    make_message(conversation, "near")
    assert contents(build(conversation)) == ["near", "newest"]


def test_characters_are_code_points(conversation: Conversation, settings: Any) -> None:
    budgets(settings, characters=6 + 3)
    make_message(conversation, "🎈🎈🎈")
    assert contents(build(conversation)) == ["🎈🎈🎈", "newest"]


def test_failed_running_empty_and_inactive_ones_are_left_out(conversation: Conversation) -> None:
    asked = make_message(conversation, "asked")
    make_reply(asked, "failed", status="failed")
    make_reply(asked, "", status="stopped")
    make_reply(asked, "older version", is_active=False)
    make_running_reply(asked, "running")
    make_reply(asked, "cut off", status="interrupted")
    make_reply(asked, "stopped", status="stopped")
    context = build(conversation)
    assert contents(context) == ["asked", "cut off", "stopped", "newest"]
    assert context.receipt["left_out"] == 0


def test_one_query_and_a_second_to_count(conversation: Conversation, settings: Any, django_assert_num_queries: Any) -> None:
    make_turns(conversation, 6)
    with django_assert_num_queries(1):
        build(conversation)
    budgets(settings, messages=3)
    with django_assert_num_queries(2):
        assert build(conversation).receipt["left_out"] == 10


def test_no_more_is_read_than_could_be_sent(conversation: Conversation, settings: Any, django_assert_num_queries: Any) -> None:
    budgets(settings, characters=100)
    make_message(conversation, "x" * 100_000)
    with django_assert_num_queries(2) as queries:
        build(conversation)
    assert "LEFT(" in queries.captured_queries[0]["sql"] and "LIMIT 50" in queries.captured_queries[0]["sql"]


def test_counting_what_is_left_out_stops_somewhere(
    conversation: Conversation, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(context_module, "MOST_COUNTED", 3)
    budgets(settings, messages=2)
    make_turns(conversation, 5)
    assert build(conversation).receipt["left_out"] == 3
