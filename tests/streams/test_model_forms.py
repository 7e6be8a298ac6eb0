"""What today's models and servers send, in all its forms: every reply ends as what it is, and none is complete without text."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import StartServer
from tests.support.auth import make_token
from tests.support.client import Client
from tests.support.exchange import Exchange
from tests.support.outcomes import assert_failed
from tests.support.server import Server
from tests.support.steps import Step, done, event, raw, respond, thought, token, tokens
from tests.support.upstream import ScriptedUpstream
from tests.support.waiting import wait_until


@pytest.fixture(scope="module")
def service(new_server: StartServer) -> Iterator[Server]:
    with new_server(INFERENCE_PROTOCOL="openai", INFERENCE_MODEL="tiny", INFERENCE_IDLE_TIMEOUT="1") as server:
        yield server


def chunk(delta: dict[str, Any] | None = None, reason: str | None = None) -> Step:
    return event(json.dumps({"choices": [{"index": 0, "delta": delta or {}, "finish_reason": reason}]}))


MARKER = event("[DONE]")
TEXT_PART, THINKING_PART = {"type": "text", "text": "Yes"}, {"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]}
TOOL_CALL = {"tool_calls": [{"index": 0, "function": {"name": "search", "arguments": "{}"}}]}


@pytest.mark.parametrize(
    ("script", "text", "reasoning", "reason"),
    [
        ((thought("Hm", "reasoning"), token("Yes"), done()), "Yes", "Hm", "stop"),
        ((thought("Hm", "reasoning_content"), token("Yes"), done()), "Yes", "Hm", "stop"),
        ((chunk({"reasoning": "Hm", "reasoning_content": "Hm", "content": "Yes"}), done()), "Yes", "Hm", "stop"),
        ((token("<thi"), token("nk>Hm</th"), token("ink>\n\nYes"), done()), "Yes", "Hm", "stop"),
        ((token("Yes <think>"), token("Hm</think>"), done()), "Yes <think>Hm</think>", "", "stop"),
        ((token("<thi"), done()), "<thi", "", "stop"),
        ((chunk({"content": [THINKING_PART]}), chunk({"content": [TEXT_PART]}), done()), "Yes", "Hm", "stop"),
        ((chunk({"content": [{"type": "reference", "reference_ids": [1]}, TEXT_PART]}), done()), "Yes", "", "stop"),
        ((chunk({"content": None, "refusal": "I can't."}), done()), "I can't.", "", "refusal"),
        ((chunk({"refusal": "I "}), chunk({"refusal": "can't."}), MARKER), "I can't.", "", "refusal"),
        ((thought("Hm"), token("Yes"), chunk(reason="length"), MARKER), "Yes", "Hm", "length"),
        ((token("Let me look."), chunk(TOOL_CALL), chunk(reason="tool_calls"), MARKER), "Let me look.", "", "tool_calls"),
        (
            (event('{"choices": null}'), token("Yes"), chunk(reason="stop"), event('{"choices": null}'), MARKER),
            "Yes",
            "",
            "stop",
        ),
        ((event('{"choices": []}'), token("Yes"), chunk(reason="stop"), event('{"choices": []}')), "Yes", "", "stop"),
        ((token("Yes"), chunk(reason="stop")), "Yes", "", "stop"),
    ],
    ids=[
        "reasoning",
        "reasoning_content",
        "both names",
        "think tags",
        "a tag in the text",
        "half a tag",
        "content list",
        "unknown part",
        "refusal",
        "refusal in pieces",
        "length",
        "text and a tool call",
        "choices null",
        "choices empty",
        "no marker",
    ],
)
def test_a_reply_with_text_is_complete(
    client: Client,
    conversation: str,
    upstream: ScriptedUpstream,
    script: tuple[Step, ...],
    text: str,
    reasoning: str,
    reason: str,
) -> None:
    upstream.script(*script)
    stream = client.ask(conversation, "question")
    end = stream.objects[-1]
    assert (stream.text, stream.reasoning, end["status"], end["finish_reason"]) == (text, reasoning, "complete", reason)
    message = client.message(conversation, stream.message_id)
    assert (message["content"], message["reasoning"], message["finish_reason"]) == (text, reasoning, reason)


@pytest.mark.parametrize(
    ("script", "text", "reasoning", "code", "reason"),
    [
        ((done(),), "", "", "no_answer", "stop"),
        ((thought("Hm"), chunk(reason="length"), MARKER), "", "Hm", "no_answer", "length"),
        ((token("<think>Hm"), chunk(reason="length"), MARKER), "", "Hm", "no_answer", "length"),
        ((thought("Hm"), token("\n\n"), chunk(reason="length"), MARKER), "\n\n", "Hm", "no_answer", "length"),
        ((chunk(reason="content_filter"), MARKER), "", "", "no_answer", "content_filter"),
        ((chunk(TOOL_CALL), chunk(reason="tool_calls"), MARKER), "", "", "tool_call_unsupported", "tool_calls"),
        ((thought("Hm"), chunk({"function_call": {"name": "x"}}), done()), "", "Hm", "tool_call_unsupported", "stop"),
        ((chunk({"content": [7]}), done()), "", "", "upstream_error", ""),
    ],
    ids=[
        "nothing",
        "all tokens thought",
        "an open tag",
        "white space",
        "filtered",
        "tool call",
        "function call",
        "not of the protocol",
    ],
)
def test_a_reply_without_text_has_failed(
    client: Client,
    conversation: str,
    upstream: ScriptedUpstream,
    script: tuple[Step, ...],
    text: str,
    reasoning: str,
    code: str,
    reason: str,
) -> None:
    upstream.script(*script)
    stream = client.send(conversation, "question")
    assert_failed(client, conversation, stream, code=code, text=text)
    assert stream.reasoning == reasoning
    assert stream.objects[-1]["finish_reason"] == reason
    message = client.message(conversation, stream.message_id)
    assert (message["error_code"], message["reasoning"], message["finish_reason"]) == (code, reasoning, reason)


def test_a_failure_without_text_is_an_error_where_no_stream_is_wanted(
    client: Client, conversation: str, upstream: ScriptedUpstream
) -> None:
    upstream.script(thought("Hm"), chunk(reason="length"), MARKER)
    path = f"/api/conversations/{conversation}/messages"
    answer = client.request("POST", path, {"content": "question", "stream": False})
    assert (answer.status, answer.json["code"]) == (502, "no_answer")


def test_a_failed_regeneration_for_want_of_text_leaves_the_old_answer(
    client: Client, conversation: str, upstream: ScriptedUpstream
) -> None:
    first = client.ask(conversation, "question")
    upstream.script(thought("Hm"), chunk(reason="length"), MARKER)
    assert client.regenerate(conversation).finish()["status"] == "failed"
    assert [message["id"] for message in client.conversation(conversation)["messages"]][1:] == [first.message_id]


@pytest.mark.parametrize(
    "sign", [b": keep-alive\n\n", b"data:\n\n", b'data: {"choices":[]}\n\n'], ids=["comment", "empty", "event"]
)
def test_a_model_that_thinks_hidden_may_take_longer_than_the_idle_timeout(
    client: Client, conversation: str, upstream: ScriptedUpstream, sign: bytes
) -> None:
    upstream.script(signs_of_life(sign), token("Yes"), done())
    assert client.ask(conversation, "question").text == "Yes"


def signs_of_life(sign: bytes) -> Step:
    """Send it for twice the idle timeout, and no text."""

    def step(exchange: Exchange) -> None:
        for _ in range(8):
            raw(sign)(exchange)
            exchange.wait(timeout_s=0.25)

    return step


def picky(*fields: str, error: Any = None, status: str = "400 Bad Request") -> Step:
    """Refuse requests that have one of these fields, name the first, and answer others."""

    def step(exchange: Exchange) -> None:
        if found := [field for field in fields if field in exchange.call.body]:
            message = f"Unsupported parameter: '{found[0]}' is not supported with this model. You said: {exchange.call.prompt}"
            said = {"error": {"message": message, "type": "invalid_request_error", "param": found[0], **(error or {})}}
            respond(status, json.dumps(said).encode())(exchange)
        else:
            token("Yes")(exchange)
            done()(exchange)

    return step


def test_a_refused_field_is_left_out_or_renamed_at_once_and_from_then_on(
    new_server: StartServer, upstream: ScriptedUpstream
) -> None:
    with new_server(INFERENCE_PROTOCOL="openai", INFERENCE_MODEL="picky") as server:
        client = Client(server.port, make_token())
        conversation = client.create_conversation()
        upstream.script(picky("max_tokens", "stream_options", "reasoning_effort"))
        assert client.send(conversation, "first", max_tokens=64, reasoning_effort="low").finish()["status"] == "complete"
        tries = [call.body for call in upstream.generations("first")]
        assert [("max_tokens" in body, "stream_options" in body) for body in tries] == [
            (True, True),
            (False, True),
            (False, False),
            (False, False),
        ]
        assert ["reasoning_effort" in body for body in tries] == [True, True, True, False]
        assert tries[-1]["max_completion_tokens"] == 64
        assert client.send(conversation, "second", max_tokens=32, reasoning_effort="low").finish()["status"] == "complete"
        [second] = upstream.generations("second")
        assert second.body["max_completion_tokens"] == 32
        assert {"max_tokens", "stream_options", "reasoning_effort"}.isdisjoint(second.body)
        [noted] = [line for line in server.log_lines() if "changes" in line]
        assert noted["changes"] == ["max_completion_tokens", "no_reasoning_effort", "no_stream_options"]
        client.close()


def test_a_refusal_of_a_value_teaches_nothing_and_is_not_tried_again(
    client: Client, conversation: str, upstream: ScriptedUpstream
) -> None:
    upstream.script(picky("messages", "max_tokens", error={"message": "max_tokens is too large"}))
    assert client.send(conversation, "first", max_tokens=4096).status == 502
    assert len(upstream.generations("first")) == 1
    upstream.script(token("Yes"), done())
    assert client.send(conversation, "second", max_tokens=64).finish()["status"] == "complete"
    assert upstream.wait_call("second").body["max_tokens"] == 64


def test_a_value_that_a_user_chose_badly_changes_no_other_request(
    client: Client, conversation: str, upstream: ScriptedUpstream
) -> None:
    upstream.script(picky("temperature"))
    assert client.send(conversation, "first", temperature=2).status == 400
    assert len(upstream.generations("first")) == 1


@pytest.fixture(scope="module")
def configured(new_server: StartServer) -> Iterator[Server]:
    """A server whose operator has chosen something else everywhere."""
    choices = {
        "INFERENCE_COMPATIBILITY": "max_completion_tokens, no_stream_options,no_temperature,no_top_k",
        "INFERENCE_SEND_REASONING": "true",
        "INFERENCE_THINK_TAGS": "false",
    }
    with new_server(INFERENCE_PROTOCOL="openai", **choices) as server:
        yield server


def test_known_differences_can_be_configured(configured: Server, client: Client, upstream: ScriptedUpstream) -> None:
    visitor = client.at(configured.port)
    visitor.send(visitor.create_conversation(), "first", temperature=1, top_k=3, max_tokens=64).finish()
    [call] = upstream.generations("first")
    assert set(call.body) == {"messages", "stream", "max_completion_tokens"}


def test_why_an_upstream_refused_is_in_the_log_and_not_what_it_said(
    service: Server, client: Client, conversation: str, upstream: ScriptedUpstream
) -> None:
    upstream.script(picky("messages", error={"code": "context_length_exceeded"}))
    refused = client.send(conversation, "privatequestion", headers={"X-Trace-Id": "a-refusal-to-find"})
    assert (refused.status, b"context_length" in refused.body()) == (400, False)
    [line] = wait_until(
        lambda: [
            line for line in service.log_lines() if line.get("trace_id") == "a-refusal-to-find" and "upstream_status" in line
        ],
        "the refusal is in the log",
    )
    assert (line["upstream_status"], line["upstream_error_code"], line["upstream_error_type"]) == (
        400,
        "context_length_exceeded",
        "invalid_request_error",
    )
    assert "privatequestion" not in service.log


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"<html>no",
        b"[" * 100_000,
        b'{"error": "max_tokens"}',
        b'{"error": {"code": "a sentence of a user", "type": 7}}',
        b'{"detail": [{"loc": ["body", "stream_options"], "type": "extra_forbidden"}]}',
        b"x" * 1_000_000,
    ],
    ids=["empty", "html", "deep", "text", "no identifiers", "list", "long"],
)
def test_any_refusal_is_a_502(client: Client, conversation: str, upstream: ScriptedUpstream, answer: bytes) -> None:
    upstream.script(respond("422 Unprocessable Entity", answer))
    assert client.send(conversation, "question").status == 502
    upstream.script(token("Yes"), done())
    assert client.ask(conversation, "again").text == "Yes"


def test_reasoning_goes_upstream_only_where_the_operator_says_so(
    configured: Server, client: Client, upstream: ScriptedUpstream
) -> None:
    upstream.script(thought("Hm"), token("Yes"), done(), when="first")
    conversation = client.create_conversation()
    client.ask(conversation, "first")
    client.ask(conversation, "second")
    assert {"role": "assistant", "content": "Yes"} in upstream.wait_call("second").messages
    client.at(configured.port).ask(conversation, "third")
    messages = upstream.wait_call("third").messages
    assert {"role": "assistant", "content": "Yes", "reasoning_content": "Hm"} in messages
    assert {"role": "assistant", "content": "second"} in messages


def test_tags_are_text_where_the_operator_says_so(configured: Server, client: Client, upstream: ScriptedUpstream) -> None:
    upstream.script(tokens("<think>Hm", "</think>Yes"), done())
    stream = client.at(configured.port).ask(client.create_conversation(), "question")
    assert (stream.text, stream.reasoning) == ("<think>Hm</think>Yes", "")


def test_a_model_that_closes_a_thought_it_never_opened_is_read_so_from_the_fourth_reply_on(
    client: Client, upstream: ScriptedUpstream
) -> None:
    for number in range(5):
        upstream.script(tokens("The user greets", " me.\n</thi", "nk>\n\n", "Hello", "!"), done())
        conversation = client.create_conversation()
        stream = client.ask(conversation, "hello")
        message = client.message(conversation, stream.message_id)
        if number >= 3:
            assert (message["reasoning"], message["content"]) == ("The user greets me.\n", "Hello!")
            assert "".join(frame.object.get("token", "") for frame in stream.frames if frame.object) == "Hello!"
        else:
            assert (message["reasoning"], message["content"]) == ("", "The user greets me.\n</think>\n\nHello!")
