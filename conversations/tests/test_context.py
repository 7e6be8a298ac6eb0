"""What the model gets to see."""

from typing import Any

import pytest

from conversations.models import Conversation
from conversations.services.sending import context
from conversations.services.sending.context import Budget, Context, build_context
from conversations.services.sending.upstream_messages import History
from conversations.tests.factories import make_conversation, make_message, make_reply, make_turns

pytestmark = pytest.mark.django_db


@pytest.fixture
def conversation() -> Conversation:
    return make_conversation()


def build(conversation: Conversation, newest: str = "newest", system_prompt: str = "") -> Context:
    return build_context(History(conversation.id), Budget.left_by(newest, system_prompt))


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
    assert context.summary == {"messages": 5, "characters": 42, "left_out": 0, "reason": None}


def test_the_first_message_stands_alone(conversation: Conversation) -> None:
    assert build(conversation).messages == [{"role": "user", "content": "newest"}]


def test_other_conversations_are_not_seen(conversation: Conversation) -> None:
    make_turns(make_conversation(), 1)
    assert contents(build(conversation)) == ["newest"]


@pytest.mark.parametrize(
    ("most", "prompt", "kept"),
    [
        (5, "", ["question 1", "answer 1", "question 2", "answer 2", "newest"]),
        (4, "", ["question 2", "answer 2", "newest"]),
        (4, "S", ["question 2", "answer 2", "newest"]),
        (3, "S", ["newest"]),
        (2, "", ["newest"]),
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
    assert context.summary["left_out"] == left_out
    assert context.summary["reason"] == ("messages" if left_out else None)


@pytest.mark.parametrize(
    ("room", "prompt", "kept"),
    [
        (24, "", ["question 2", "answer 2", "newest"]),
        (25, "S", ["question 2", "answer 2", "newest"]),
        (23, "", ["newest"]),
        (24, "S", ["newest"]),
        (14, "", ["newest"]),
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
    assert context.summary["characters"] == len("".join(kept)) + len(prompt)
    assert (context.summary["left_out"], context.summary["reason"]) == (5 - len(kept), "characters")


def test_nothing_older_than_what_did_not_fit(conversation: Conversation, settings: Any) -> None:
    budgets(settings, characters=40)
    make_reply(make_message(conversation, "short"), "short")
    make_reply(make_message(conversation, "short"), "x" * 100)
    make_reply(make_message(conversation, "near"), "near")
    assert contents(build(conversation)) == ["near", "near", "newest"]


def test_characters_are_code_points(conversation: Conversation, settings: Any) -> None:
    budgets(settings, characters=6 + 4)
    make_reply(make_message(conversation, "🎈🎈🎈"), "é")
    assert contents(build(conversation)) == ["🎈🎈🎈", "é", "newest"]


# --- Roles ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["failed", "stopped", "interrupted"])
def test_a_question_without_an_answer_goes_up_with_the_next_one(conversation: Conversation, status: str) -> None:
    make_turns(conversation, 1)
    make_reply(make_message(conversation, "lost"), "", status=status)
    context = build(conversation)
    assert contents(context) == ["question 1", "answer 1", "lost\n\nnewest"]
    assert (context.summary["left_out"], context.summary["reason"]) == (0, None)
    make_reply(make_message(conversation, "next"), "answered")
    assert contents(build(conversation)) == ["question 1", "answer 1", "lost\n\nnext", "answered", "newest"]


def test_a_failed_reply_with_text_is_seen(conversation: Conversation) -> None:
    make_reply(make_message(conversation, "asked"), "half", status="failed", error_code="upstream_error")
    assert contents(build(conversation)) == ["asked", "half", "newest"]


def test_a_question_that_was_refused_for_its_content_stays_out(conversation: Conversation) -> None:
    make_turns(conversation, 1)
    make_reply(make_message(conversation, "lost"), "", status="failed", error_code="upstream_unavailable")
    make_reply(make_message(conversation, "rude"), "", status="failed", error_code="content_refused")
    context = build(conversation)
    assert contents(context) == ["question 1", "answer 1", "lost\n\nnewest"]
    assert (context.summary["left_out"], context.summary["reason"]) == (1, "refused")


def test_a_refused_question_with_another_answer_is_seen(conversation: Conversation) -> None:
    asked = make_message(conversation, "asked")
    make_reply(asked, "", status="failed", error_code="content_refused", is_active=False)
    make_reply(asked, "answered")
    assert contents(build(conversation)) == ["asked", "answered", "newest"]


@pytest.mark.parametrize(
    ("room", "kept"),
    [
        (100, ["oldest\n\nlost\n\nasked", "answer", "newest"]),
        (22, ["lost\n\nasked", "answer", "newest"]),
        (16, ["asked", "answer", "newest"]),
        (10, ["newest"]),
    ],
)
def test_of_several_questions_the_newest_that_fit(
    conversation: Conversation, settings: Any, room: int, kept: list[str]
) -> None:
    budgets(settings, characters=room + len("newest"))
    for text in ("oldest", "lost"):
        make_reply(make_message(conversation, text), "", status="failed")
    make_reply(make_message(conversation, "asked"), "answer")
    context = build(conversation)
    assert contents(context) == kept
    assert context.summary["reason"] == (None if room == 100 else "characters")


def test_answers_that_were_cut_off_or_stopped_are_seen_and_others_are_not(conversation: Conversation) -> None:
    for text, status in (("cut off", "interrupted"), ("stopped", "stopped")):
        asked = make_message(conversation, "asked")
        make_reply(asked, "older version", is_active=False)
        make_reply(asked, text, status=status)
    context = build(conversation)
    assert contents(context) == ["asked", "cut off", "asked", "stopped", "newest"]
    assert (context.summary["left_out"], context.summary["reason"]) == (0, None)


def test_many_refusals_in_a_row_hide_nothing_that_was_before_them(conversation: Conversation) -> None:
    make_turns(conversation, 1)
    for _ in range(60):
        make_reply(make_message(conversation, "rude"), "", status="failed", error_code="content_refused")
    context = build(conversation)
    assert contents(context) == ["question 1", "answer 1", "newest"]
    assert context.summary["left_out"] == 60


def test_several_messages_of_one_side_are_joined(conversation: Conversation) -> None:
    for role, text in (("user", "one"), ("user", "two"), ("assistant", "three"), ("assistant", "four")):
        make_message(conversation, text, role=role)
    context = build(conversation)
    assert contents(context) == ["one\n\ntwo", "three\n\nfour", "newest"]
    assert context.summary == {"messages": 3, "characters": 25, "left_out": 0, "reason": None}


def test_a_question_without_any_reply_goes_up_with_the_next_one(conversation: Conversation) -> None:
    make_turns(conversation, 1)
    make_message(conversation, "never answered")
    assert contents(build(conversation)) == ["question 1", "answer 1", "never answered\n\nnewest"]


def test_answers_without_a_question_are_left_out(conversation: Conversation) -> None:
    make_message(conversation, "Welcome!", role="assistant")
    make_turns(conversation, 1)
    context = build(conversation)
    assert contents(context) == ["question 1", "answer 1", "newest"]
    assert (context.summary["left_out"], context.summary["reason"]) == (1, "unanswered")


def test_system_text_goes_before_the_next_question_that_is_seen(conversation: Conversation) -> None:
    make_message(conversation, "Be brief.", role="system")
    make_reply(make_message(conversation, "lost"), "", status="failed")
    assert contents(build(conversation)) == ["Be brief.\n\nlost\n\nnewest"]
    make_turns(conversation, 1)
    make_message(conversation, "Be kind.", role="system")
    make_message(conversation, "Be wise.", role="system")
    context = build(conversation)
    assert contents(context) == ["Be brief.\n\nlost\n\nquestion 1", "answer 1", "Be kind.\n\nBe wise.\n\nnewest"]
    assert (context.summary["characters"], context.summary["left_out"]) == (61, 0)


def test_system_text_that_does_not_fit_is_left_out_with_all_that_is_older(conversation: Conversation, settings: Any) -> None:
    budgets(settings, characters=30)
    make_turns(conversation, 1)
    make_message(conversation, "x" * 23, role="system")
    context = build(conversation)
    assert contents(context) == ["newest"]
    assert (context.summary["left_out"], context.summary["reason"]) == (3, "characters")


# --- The protocol's limits ------------------------------------------------------------------------------------------------


def test_no_message_is_longer_than_the_protocol_allows(conversation: Conversation, settings: Any) -> None:
    budgets(settings, characters=30_000)
    make_turns(conversation, 1)
    make_reply(make_message(conversation, "tell me all"), "x" * 8_001)
    make_reply(make_message(conversation, "again"), "x" * 8_000)
    context = build(conversation)
    assert [len(content) for content in contents(context)] == [5, 8_000, 6]
    assert (context.summary["left_out"], context.summary["reason"]) == (4, "characters")
    settings.INFERENCE_PROTOCOL = "openai"
    assert len(contents(build(conversation))) == 7


def test_all_messages_are_no_longer_than_the_protocol_allows(conversation: Conversation, settings: Any) -> None:
    budgets(settings, characters=1_000_000)
    for _ in range(5):
        make_reply(make_message(conversation, "x" * 4_000), "x" * 4_000)
    context = build(conversation, system_prompt="y" * 1_000)
    assert len(context.messages) == 7
    assert (context.summary["characters"], context.summary["reason"]) == (25_006, "characters")
    settings.INFERENCE_PROTOCOL = "openai"
    assert len(build(conversation).messages) == 11


def test_a_system_prompt_that_the_protocol_can_t_take_is_cut_and_the_summary_says_so(conversation: Conversation) -> None:
    context = build(conversation, system_prompt="y" * 9_000)
    assert len(context.system_prompt) == 8_000
    assert context.summary == {
        "messages": 1,
        "characters": 8_006,
        "left_out": 0,
        "reason": None,
        "system_prompt_left_out": 1_000,
    }


# --- What it costs --------------------------------------------------------------------------------------------------------


def test_one_query_and_a_second_to_count(conversation: Conversation, settings: Any, django_assert_num_queries: Any) -> None:
    make_turns(conversation, 6)
    with django_assert_num_queries(1):
        build(conversation)
    budgets(settings, messages=3)
    with django_assert_num_queries(2):
        assert build(conversation).summary["left_out"] == 10


def test_no_more_is_read_than_could_be_sent(conversation: Conversation, settings: Any, django_assert_num_queries: Any) -> None:
    budgets(settings, characters=100)
    make_reply(make_message(conversation), "x" * 100_000)
    with django_assert_num_queries(1) as queries:
        build(conversation)
    assert "left(" in queries.captured_queries[0]["sql"] and "LIMIT 58" in queries.captured_queries[0]["sql"]


def test_counting_what_is_left_out_stops_somewhere(
    conversation: Conversation, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(context, "MOST_COUNTED", 3)
    budgets(settings, messages=2)
    make_turns(conversation, 5)
    assert build(conversation).summary["left_out"] == 3


@pytest.mark.parametrize(("protocol", "is_sent"), [("openai", True), ("nanochat", False)])
def test_reasoning_goes_up_where_it_is_wanted_and_understood(
    conversation: Conversation, settings: Any, protocol: str, is_sent: bool
) -> None:
    settings.INFERENCE_PROTOCOL, settings.INFERENCE_SEND_REASONING = protocol, True
    asked = make_message(conversation, "question")
    make_reply(asked, "answer", reasoning="thought")
    answer = build(conversation).messages[1]
    assert answer == {"role": "assistant", "content": "answer", **({"reasoning_content": "thought"} if is_sent else {})}


def test_reasoning_that_is_sent_counts_for_the_budget(conversation: Conversation, settings: Any) -> None:
    settings.INFERENCE_PROTOCOL, settings.INFERENCE_SEND_REASONING = "openai", True
    make_reply(make_message(conversation, "question"), "answer", reasoning="t" * 100)
    budgets(settings, characters=119)
    assert contents(build(conversation)) == ["newest"]
    budgets(settings, characters=120)
    assert contents(build(conversation)) == ["question", "answer", "newest"]
    assert build(conversation).summary["characters"] == 120
    settings.INFERENCE_SEND_REASONING = False
    budgets(settings, characters=20)
    assert contents(build(conversation)) == ["question", "answer", "newest"]


def test_the_thoughts_behind_answers_in_a_row_are_joined(conversation: Conversation, settings: Any) -> None:
    settings.INFERENCE_PROTOCOL, settings.INFERENCE_SEND_REASONING = "openai", True
    asked = make_message(conversation, "question")
    make_reply(asked, "one", reasoning="first")
    make_reply(asked, "two", reasoning="")
    make_reply(asked, "three", reasoning="third")
    answer = build(conversation)
    assert answer.messages[1] == {
        "role": "assistant",
        "content": "one\n\ntwo\n\nthree",
        "reasoning_content": "first\n\nthird",
    }
    sent = sum(len(message["content"]) + len(message.get("reasoning_content", "")) for message in answer.messages)
    assert answer.summary["characters"] == sent
