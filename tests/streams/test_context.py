"""What the model gets to see, and who it is told that we are."""

from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from tests.conftest import StartServer
from tests.support.client import Client
from tests.support.server import INTERNAL_API_KEY, Server
from tests.support.steps import done, respond, tokens
from tests.support.upstream import ScriptedUpstream


@pytest.fixture(scope="module")
def service(new_server: StartServer) -> Iterator[Server]:
    with new_server(MAX_CONVERSATION_HISTORY="5", MAX_TOKEN_BUDGET="2000") as server:
        yield server


@pytest.fixture(scope="module")
def prompted(new_server: StartServer) -> Iterator[Server]:
    with new_server(SYSTEM_PROMPT="Answer in verse.", MAX_TOKEN_BUDGET="100000") as server:
        yield server


def test_the_history_goes_up_in_order(client: Client, conversation: str, upstream: ScriptedUpstream) -> None:
    upstream.script(tokens("a", "1"), done(), when="q1")
    client.ask(conversation, "q1")
    client.ask(conversation, "q2")
    assert upstream.generations()[-1].messages == [
        {"role": "user", "content": "q1"},
        {"role": "assistant", "content": "a1"},
        {"role": "user", "content": "q2"},
    ]


def test_sampling_goes_up(client: Client, conversation: str, upstream: ScriptedUpstream) -> None:
    client.send(conversation, "sample", temperature=0.25, max_tokens=77, top_k=9).finish()
    body = upstream.generations()[-1].body
    assert (body["temperature"], body["max_tokens"], body["top_k"]) == (0.25, 77, 9)


def test_only_the_newest_messages_go_up(client: Client, conversation: str, upstream: ScriptedUpstream) -> None:
    for number in range(1, 5):
        upstream.script(tokens(f"a{number}"), done())
        client.ask(conversation, f"q{number}")
    assert [item["content"] for item in upstream.generations()[-1].messages] == ["q2", "a2", "q3", "a3", "q4"]


def test_only_so_many_characters_go_up(client: Client, conversation: str, upstream: ScriptedUpstream) -> None:
    questions, answers = [letter * 900 for letter in "ABC"], [letter * 150 for letter in "abc"]
    for question, answer in zip(questions, answers, strict=True):
        upstream.script(tokens(answer), done())
        client.ask(conversation, question)
    assert [item["content"] for item in upstream.generations()[-1].messages] == [questions[1], answers[1], questions[2]]


def test_the_newest_message_always_goes_up_whole(client: Client, conversation: str, upstream: ScriptedUpstream) -> None:
    client.ask(conversation, "short")
    client.ask(conversation, "L" * 5000)
    assert upstream.generations()[-1].messages == [{"role": "user", "content": "L" * 5000}]


def test_a_question_and_its_answer_go_up_together(client: Client, conversation: str, upstream: ScriptedUpstream) -> None:
    for letter in "ABC":
        upstream.script(tokens(letter.lower() * 200), done())
        client.ask(conversation, letter * 750)
    # There is room for the last answer and not for its question.
    newest = client.ask(conversation, "D" * 1100)
    assert upstream.generations()[-1].messages == [{"role": "user", "content": "D" * 1100}]
    receipt = client.message(conversation, newest.message_id)["context"]
    assert receipt == {"messages": 1, "characters": 1100, "left_out": 6, "reason": "characters"}


@pytest.mark.parametrize("said", ["", "half"], ids=["empty", "with text"])
def test_a_question_whose_reply_failed_is_not_forgotten(
    client: Client, conversation: str, upstream: ScriptedUpstream, said: str
) -> None:
    client.ask(conversation, "before")
    upstream.script(tokens(*[said] if said else []), when="broken")
    client.send(conversation, "broken").finish()
    upstream.script(tokens("ok"), done(), when="again")
    again = client.ask(conversation, "again")
    sent = upstream.generations()[-1].messages
    assert [(item["role"], item["content"]) for item in sent] == [
        ("user", "before"),
        ("assistant", "before"),
        *([("user", "broken"), ("assistant", "half"), ("user", "again")] if said else [("user", "broken\n\nagain")]),
    ]
    receipt = client.message(conversation, again.message_id)["context"]
    assert (receipt["messages"], receipt["left_out"], receipt["reason"]) == (len(sent), 0, None)


@pytest.mark.parametrize(
    ("status", "error", "is_refusal"),
    [
        (400, {"code": "content_filter", "message": "The response was filtered."}, True),
        (400, {"code": "invalid_value", "param": "messages[2].content", "message": "Invalid content."}, True),
        (400, {"code": "invalid_value", "param": "temperature", "message": "Must be below 2."}, False),
        (500, {"code": "content_filter", "message": "The response was filtered."}, False),
    ],
)
def test_only_a_question_that_was_refused_for_its_content_stays_out(
    client: Client, conversation: str, upstream: ScriptedUpstream, status: int, error: dict[str, Any], is_refusal: bool
) -> None:
    client.ask(conversation, "before")
    upstream.script(respond(f"{status} Refused", orjson.dumps({"error": error})), when="rude")
    assert client.send(conversation, "rude").status >= 400
    upstream.script(tokens("ok"), done(), when="again")
    again = client.ask(conversation, "again")
    assert upstream.generations()[-1].messages[-1]["content"] == ("again" if is_refusal else "rude\n\nagain")
    receipt = client.message(conversation, again.message_id)["context"]
    assert (receipt["left_out"], receipt["reason"]) == ((1, "refused") if is_refusal else (0, None))


def test_the_system_prompt_is_folded_into_the_first_message(
    client: Client, prompted: Server, conversation: str, upstream: ScriptedUpstream
) -> None:
    visitor = client.at(prompted.port)
    visitor.ask(conversation, "first question")
    upstream.script(tokens("answer"), done())
    visitor.ask(conversation, "second question")
    first, *others = upstream.generations()[-1].messages
    assert first["role"] == "user"
    assert first["content"].startswith("Answer in verse.")
    assert first["content"].endswith("first question")
    assert [item["role"] for item in others] == ["assistant", "user"]
    assert others[-1]["content"] == "second question"
    assert visitor.messages(conversation)[0]["content"] == "first question"
    visitor.close()


def test_a_reply_that_is_too_long_for_the_service_is_left_out_with_its_question(
    client: Client, prompted: Server, conversation: str, upstream: ScriptedUpstream
) -> None:
    upstream.script(tokens("L" * 8001), done(), when="at length")
    visitor = client.at(prompted.port)
    visitor.ask(conversation, "at length")
    stream = visitor.ask(conversation, "and in short")
    assert upstream.generations()[-1].messages == [{"role": "user", "content": "Answer in verse.\n\nand in short"}]
    receipt = visitor.message(conversation, stream.message_id)["context"]
    assert (receipt["left_out"], receipt["reason"]) == (2, "characters")
    visitor.close()


def test_a_long_message_does_not_push_the_system_prompt_out(
    client: Client, prompted: Server, conversation: str, upstream: ScriptedUpstream
) -> None:
    upstream.script(tokens("answer"), done())
    visitor = client.at(prompted.port)
    visitor.ask(conversation, "L" * 8000)
    sent = upstream.generations()[-1].messages
    assert [item["role"] for item in sent] == ["user", "assistant", "user"]
    assert (sent[0]["content"], sent[-1]["content"]) == ("Answer in verse.", "L" * 8000)
    visitor.close()


def test_the_trace_and_our_key_reach_the_upstream(client: Client, conversation: str, upstream: ScriptedUpstream) -> None:
    stream = client.send(conversation, "trace", headers={"X-Trace-Id": "trace-me.7_a"})
    stream.finish()
    call = upstream.generations()[-1]
    assert stream.headers["X-Trace-Id"] == "trace-me.7_a"
    assert call.headers["x-trace-id"] == "trace-me.7_a"
    assert call.headers["x-internal-api-key"] == INTERNAL_API_KEY
    assert "authorization" not in call.headers


def test_a_malformed_trace_id_is_replaced(client: Client, conversation: str, upstream: ScriptedUpstream) -> None:
    stream = client.send(conversation, "trace", headers={"X-Trace-Id": "two words"})
    stream.finish()
    minted = stream.headers["X-Trace-Id"]
    assert minted
    assert " " not in minted
    assert upstream.generations()[-1].headers["x-trace-id"] == minted
