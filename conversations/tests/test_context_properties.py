"""Whatever a conversation holds, what goes upstream is valid and its summary is true."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from django.test import override_settings
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from conversations.models import Conversation, Message
from conversations.new_ids import new_id
from conversations.services.sending.context import Budget, Context, build_context
from conversations.services.sending.statements import survey_conversation
from conversations.services.sending.upstream_messages import History
from conversations.tests.factories import NOON, USER_ID, make_conversation
from inference_proxy.protocols import new_protocol
from inference_proxy.protocols.base import GenerationRequest
from inference_proxy.protocols.nanochat import MAX_MESSAGE_CHARACTERS, MAX_TOTAL_CHARACTERS

pytestmark = pytest.mark.django_db

LENGTHS = st.sampled_from([0, 8, 40, 300, 7_990, 9_000])
ROWS = st.lists(
    st.tuples(
        st.sampled_from(["user", "assistant", "user", "assistant", "system"]),
        st.sampled_from(["complete", "complete", "complete", "stopped", "interrupted", "failed", "refused"]),
        st.sampled_from([True, True, True, True, False]),
        LENGTHS,
    ),
    max_size=24,
)


@dataclass(frozen=True)
class Case:
    """A history, oldest first, what is asked after it, and the limits."""

    rows: list[tuple[str, str, bool, int]]
    newest: str
    prompt: str
    most_messages: int
    most_characters: int
    protocol: str


CASES = st.builds(
    Case,
    rows=ROWS,
    newest=st.sampled_from([6, 500, 8_000]).map(lambda length: "[newest]".ljust(length, ".")[:length]),
    prompt=st.sampled_from([0, 20, 7_995, 8_500]).map(lambda length: "P" * length),
    most_messages=st.sampled_from([1, 3, 4, 8, 50]),
    most_characters=st.sampled_from([1, 60, 600, 6_000, 50_000, 100_000]),
    protocol=st.sampled_from(["nanochat", "openai"]),
)


def store(case: Case) -> Conversation:
    """Save the history; each message has a text that no other contains."""
    conversation = make_conversation()
    Message.objects.bulk_create(
        Message(
            id=new_id(),
            conversation=conversation,
            role=role,
            is_active=is_active,
            created_at=NOON + timedelta(seconds=number // 2),
            **outcome(role, status, f"[{number:05}]".ljust(length, "-") if length else ""),
        )
        for number, (role, status, is_active, length) in enumerate(case.rows)
    )
    return conversation


def outcome(role: str, status: str, content: str) -> dict[str, Any]:
    """A refused reply has no text, and a code that says so. Only replies have an outcome."""
    if role != "assistant":
        return {"status": "complete", "content": content}
    if status == "refused":
        return {"status": "failed", "content": "", "error_code": "content_refused"}
    return {"status": status, "content": content}


def build_as_a_send_does(case: Case, conversation: Conversation) -> Context:
    budget = Budget.left_by(case.newest, case.prompt)
    survey = survey_conversation(conversation.id, USER_ID, budget, idempotency_key="", limited=True)
    return build_context(History(conversation.id), budget, survey.history)


def roles_are_valid(messages: list[dict[str, str]]) -> bool:
    return [message["role"] for message in messages] == ["user", "assistant"] * (len(messages) // 2) + ["user"]


def check_summary(case: Case, conversation: Conversation, context: Context) -> None:
    sent = "".join(message["content"] for message in context.messages)
    said = conversation.messages.filter(is_active=True).exclude(content="").values_list("content", flat=True)
    summary = dict(context.summary)
    assert summary.pop("messages") == len(context.messages)
    assert summary.pop("characters") == len(sent) + len(context.system_prompt)
    assert summary.pop("left_out") == sum(text not in sent for text in said)
    assert (summary.pop("reason") is None) == all(text in sent for text in said)
    assert summary.pop("system_prompt_left_out", 0) == len(case.prompt) - len(context.system_prompt)
    assert summary == {}


def check_choice(case: Case, conversation: Conversation, context: Context) -> None:
    """Nothing unusable goes up, in its order, within the budget, and nothing else than what was said."""
    sent = "\n\n".join(message["content"] for message in context.messages)
    assert sent.endswith(case.newest)
    usable = conversation.messages.filter(is_active=True).exclude(content="").oldest_first()
    seen = [text for text in usable.values_list("content", flat=True) if text in sent]
    assert sent == "\n\n".join([*seen, case.newest])
    assert not refused_questions(conversation) & set(seen)
    if not context.summary["reason"]:
        assert set(seen) == set(usable.values_list("content", flat=True))
    assert len(context.messages) <= max(1, case.most_messages - bool(case.prompt))
    room = max(0, case.most_characters - len(case.newest) - len(context.system_prompt))
    assert sum(len(message["content"]) for message in context.messages) - len(case.newest) <= room


def refused_questions(conversation: Conversation) -> set[str]:
    """The questions that were refused for their content, by the answers right after each of them."""
    refused: set[str] = set()
    last_question = ""
    answers: list[tuple[str, str | None]] = []
    for message in [*conversation.messages.filter(is_active=True).oldest_first(), Message(role="user", content="")]:
        if message.role == "assistant":
            answers.append((message.content, message.error_code))
        elif message.role == "user":
            if ("", "content_refused") in answers and not any(content for content, _ in answers):
                refused.add(last_question)
            last_question, answers = message.content, []
    return refused - {""}


def check_upstream(case: Case, context: Context) -> None:
    request = GenerationRequest(messages=context.messages, system_prompt=context.system_prompt)
    messages: list[dict[str, str]] = new_protocol().body(request)["messages"]
    assert context.system_prompt in messages[0]["content"]
    assert messages[-1]["content"].endswith(case.newest)
    if case.protocol == "openai":
        assert roles_are_valid(messages[bool(case.prompt) :])
        return
    assert roles_are_valid(messages)
    assert max(len(message["content"]) for message in messages) <= MAX_MESSAGE_CHARACTERS
    assert sum(len(message["content"]) for message in messages) <= MAX_TOTAL_CHARACTERS


LONG_ANSWER = [("user", "complete", True, 8), ("assistant", "complete", True, 9_000)]
LONG_TOGETHER = [("user", "complete", True, 7_990), ("user", "complete", True, 40), ("assistant", "complete", True, 8)]
FAILED = [("user", "complete", True, 8), ("assistant", "failed", True, 8)]
ANSWERED = [("user", "complete", True, 8), ("assistant", "complete", True, 8)]


@example(case=Case([*ANSWERED, *FAILED, *ANSWERED, *FAILED], "[newest]", "", 50, 6_000, "openai"))
@example(case=Case([*FAILED * 20, *ANSWERED], "[newest]", "", 8, 6_000, "openai"))
@example(case=Case([*ANSWERED, *FAILED * 20], "[newest]", "", 8, 6_000, "openai"))
@example(case=Case(LONG_ANSWER, "[newest]", "", 50, 100_000, "nanochat"))
@example(case=Case(LONG_TOGETHER, "[newest]", "P" * 20, 50, 100_000, "nanochat"))
@example(case=Case([*LONG_TOGETHER[2:], *LONG_TOGETHER] * 5, "[newest]", "P" * 7_995, 50, 100_000, "nanochat"))
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(case=CASES)
def test_what_goes_upstream_is_valid_and_its_summary_is_true(case: Case, db: Any) -> None:
    limits = {"MAX_CONVERSATION_HISTORY": case.most_messages, "MAX_TOKEN_BUDGET": case.most_characters}
    with override_settings(**limits, INFERENCE_PROTOCOL=case.protocol), transaction.atomic():
        conversation = store(case)
        context = build_as_a_send_does(case, conversation)
        assert roles_are_valid(context.messages)
        check_choice(case, conversation, context)
        check_summary(case, conversation, context)
        check_upstream(case, context)
        budget = Budget.left_by(case.newest, case.prompt)
        assert build_context(History(conversation.id), budget) == context
        transaction.set_rollback(True)
