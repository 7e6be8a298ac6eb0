"""Tools on /api/chat beyond what the AI SDK itself sends: the events, odd bodies, pages, stops, and other surfaces."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.clients.tool_cases import WEATHER, calling, finish, piece, pieces
from tests.conftest import StartServer
from tests.support.client import Answer, Client, Stream
from tests.support.server import Server
from tests.support.steps import Step, done, event, hold, tokens
from tests.support.upstream import ScriptedUpstream

CHAT = "/api/chat"
QUESTION = {"id": "q1", "role": "user", "parts": [{"type": "text", "text": "How is the weather?"}]}
Message = dict[str, Any]


@pytest.fixture(scope="module")
def service(new_server: StartServer) -> Iterator[Server]:
    with new_server(INFERENCE_PROTOCOL="openai", INFERENCE_MODEL="tiny") as server:
        yield server


def open_chat(client: Client, *messages: Message, **fields: Any) -> Stream:
    body = {"id": "kitchen", "trigger": "submit-message", "messages": list(messages), "tools": [WEATHER], **fields}
    return client.open("POST", CHAT, body)


def events_of(stream: Stream) -> list[Any]:
    assert stream.status == 200, stream.body()
    lines = [line.removeprefix(b"data: ") for line in stream.body().split(b"\n") if line.startswith(b"data: ")]
    assert lines.pop() == b"[DONE]"
    return [json.loads(line) for line in lines]


def send(client: Client, *messages: Message, **fields: Any) -> list[Any]:
    return events_of(open_chat(client, *messages, **fields))


def refused(client: Client, *messages: Message, **fields: Any) -> Answer:
    body = {"id": "kitchen", "trigger": "submit-message", "messages": list(messages), "tools": [WEATHER], **fields}
    answer = client.request("POST", CHAT, body)
    assert answer.status >= 400, answer
    return answer


def shown(client: Client, query: str = "") -> list[Message]:
    return list(client.get(f"{CHAT}/kitchen{query}")["messages"])


def answered(message_id: str, **outputs: Any) -> Message:
    """What a page shows of an answer: only what the service reads."""
    parts = [
        {"type": "tool-weather", "toolCallId": call_id, "state": "output-available", "output": output}
        for call_id, output in outputs.items()
    ]
    return {"id": message_id, "role": "assistant", "parts": parts}


def call(client: Client, upstream: ScriptedUpstream, *script: Step) -> str:
    upstream.script(*(script or calling("Oslo")))
    return str(send(client, QUESTION)[0]["messageId"])


def roles(upstream: ScriptedUpstream) -> list[str]:
    return [message["role"] for message in upstream.generations()[-1].body["messages"]]


def test_the_events_of_a_call(client: Client, upstream: ScriptedUpstream) -> None:
    upstream.script(tokens("Let me look."), *calling("Oslo"))
    found = send(client, QUESTION)
    names = {"toolCallId": "call_0", "toolName": "weather"}
    assert found[1:-1] == [
        {"type": "text-start", "id": "0"},
        {"type": "text-delta", "id": "0", "delta": "Let me look."},
        {"type": "text-end", "id": "0"},
        {"type": "tool-input-start", **names},
        {"type": "tool-input-delta", "toolCallId": "call_0", "inputTextDelta": '{"city": "Oslo"}'},
        {"type": "tool-input-available", **names, "input": {"city": "Oslo"}},
    ]
    upstream.script(tokens("Sunny."), done())
    second = send(client, QUESTION, answered(found[0]["messageId"], call_0="Sun"))
    assert second[:2] == [found[0], {"type": "start-step"}]


def test_arguments_that_are_no_json_are_a_text(client: Client, upstream: ScriptedUpstream) -> None:
    broken = (pieces(piece(0, name="weather", arguments="{Oslo")), finish("tool_calls"), event("[DONE]"))
    message_id = call(client, upstream, *broken)
    part = shown(client)[-1]["parts"][0]
    assert (part["input"], part["state"]) == ("{Oslo", "input-available")
    upstream.script(tokens("Sunny."), done())
    send(client, QUESTION, answered(message_id, call_0="Sun"))
    assert roles(upstream) == ["user", "assistant", "tool"]


@pytest.mark.parametrize(
    ("output", "given"),
    [("Sun", "Sun"), ("", ""), ("42", "42"), (42, "42"), (None, ""), ({"sky": ["sun"]}, '{"sky":["sun"]}'), (False, "false")],
    ids=["text", "empty", "digits", "number", "null", "object", "false"],
)
def test_an_output_stays_what_it_was(output: Any, given: str, client: Client, upstream: ScriptedUpstream) -> None:
    message_id = call(client, upstream)
    upstream.script(tokens("Sunny."), done())
    send(client, QUESTION, answered(message_id, call_0=output))
    told = upstream.generations()[-1].body["messages"][-1]
    assert (told["role"], told["tool_call_id"]) == ("tool", "call_0")
    assert told["content"] == given or not given
    part = shown(client)[-1]["parts"][0]
    assert (part["state"], part["output"]) == ("output-available", "" if output is None else output)


def test_tools_are_offered_in_several_forms(client: Client, upstream: ScriptedUpstream) -> None:
    function = WEATHER["function"]
    described = {"description": function["description"], "parameters": function["parameters"]}
    schema = {"description": function["description"], "inputSchema": {"jsonSchema": function["parameters"]}}
    forms = ([WEATHER], [{"type": "function", **function}], {"weather": described}, {"weather": schema})
    for number, form in enumerate(forms):
        upstream.script(tokens("Hi."), done())
        send(client, {**QUESTION, "id": f"q{number}"}, id=f"chat-{number}", tools=form, tool_choice="auto")
        body = upstream.generations()[-1].body
        assert (body["tools"], body["tool_choice"]) == ([WEATHER], "auto"), form
    for number, form in enumerate(({}, [], None, "weather", {"deep": [[]]})):
        upstream.script(tokens("Hi."), done())
        send(client, {**QUESTION, "id": f"n{number}"}, id=f"none-{number}", tools=form)
        assert "tools" not in upstream.generations()[-1].body
    assert list(refused(client, QUESTION, tools={"a b": {}}).json["fields"]) == ["tools"]
    assert list(refused(client, QUESTION, tools=[{"type": "function", "name": "w"}] * 129).json["fields"]) == ["tools"]


def test_outputs_that_do_not_fit_are_refused(client: Client, upstream: ScriptedUpstream) -> None:
    message_id = call(client, upstream, *calling("Oslo", "Rome"))
    count = len(shown(client))
    assert refused(client, QUESTION, answered(message_id, call_0="Sun")).json["code"] == "tool_output_mismatch"
    assert refused(client, QUESTION, answered(message_id, call_7="Sun")).json["code"] == "tool_output_mismatch"
    assert refused(client, QUESTION, answered("unknown", call_0="Sun", call_1="Sun")).json["code"] == "history_mismatch"
    both = answered(message_id, call_0="Sun", call_1="Rain")
    assert refused(client, QUESTION, both, id="cellar").status == 404
    assert refused(client, QUESTION, both, trigger="regenerate-message").status == 400
    for output in ("x" * 65_537, "nul\x00"):
        answer = refused(client, QUESTION, answered(message_id, call_0="Sun", call_1=output))
        assert (answer.status, list(answer.json["fields"])) == (400, ["messages"])
    assert len(shown(client)) == count
    upstream.script(tokens("Fine."), done())
    send(client, QUESTION, both)
    assert len(upstream.generations()) == 2


def test_a_long_body_brings_outputs(client: Client, upstream: ScriptedUpstream) -> None:
    message_id = call(client, upstream)
    long = {**answered(message_id, call_0={"sky": "sün"}), "metadata": "x" * 2_000_000}
    long["parts"].insert(0, {"type": "data-picture", "data": ["x" * 2_000_000]})
    upstream.script(tokens("Sunny."), done())
    send(client, QUESTION, long)
    assert upstream.generations()[-1].body["messages"][-1]["content"] == '{"sky":"sün"}'
    # The same outputs are the same request, also alone and in a short body.
    alone = client.open("POST", CHAT, {"id": "kitchen", "message": long, "tools": [WEATHER]})
    assert events_of(alone)[0]["messageId"] == message_id
    send(client, QUESTION, answered(message_id, call_0={"sky": "sün"}))
    assert len(upstream.generations()) == 2
    upstream.script(tokens("Thanks."), done())
    send(client, QUESTION, long, {**QUESTION, "id": "q2"})
    assert roles(upstream) == ["user", "assistant", "tool", "assistant", "user"]


def test_a_question_brings_outputs_that_were_not_sent(client: Client, upstream: ScriptedUpstream) -> None:
    message_id = call(client, upstream)
    more = {**QUESTION, "id": "q2"}
    upstream.script(tokens("Sunny."), done())
    send(client, QUESTION, answered(message_id, call_0="Sun"), more)
    assert roles(upstream) == ["user", "assistant", "tool", "user"]
    # A repetition brings nothing twice.
    send(client, QUESTION, answered(message_id, call_0="Sun"), more)
    assert [message["role"] for message in shown(client)] == ["user", "assistant", "user", "assistant"]
    assert shown(client)[1]["parts"][0]["output"] == "Sun"
    assert len(upstream.generations()) == 2


def test_a_question_without_outputs_leaves_the_calls_out(client: Client, upstream: ScriptedUpstream) -> None:
    message_id = call(client, upstream, tokens("Let me look."), *calling("Oslo"))
    upstream.script(tokens("Fine."), done())
    send(client, QUESTION, {"id": message_id, "role": "assistant", "parts": []}, {**QUESTION, "id": "q2"})
    sent = upstream.generations()[-1].body["messages"]
    assert ([message["role"] for message in sent], sent[1].get("tool_calls")) == (["user", "assistant", "user"], None)


def test_other_outputs_are_another_branch(client: Client, upstream: ScriptedUpstream) -> None:
    message_id = call(client, upstream)
    for output in ("Sun", "Rain"):
        upstream.script(tokens(f"{output}!"), done())
        send(client, QUESTION, answered(message_id, call_0=output))
        assert shown(client)[-1]["parts"][-1]["text"] == f"{output}!"
    assert len(shown(client)) == 2
    # What the page shows of the message is what counts: both ids of it lead there.
    upstream.script(tokens("Bye."), done())
    send(client, QUESTION, {"id": message_id, "role": "assistant", "parts": []}, {**QUESTION, "id": "q2"})
    assert [each["content"] for each in upstream.generations()[-1].body["messages"]][2:4] == ["Rain", "Rain!"]


def test_another_branch_with_tools_is_found(client: Client, upstream: ScriptedUpstream) -> None:
    message_id = call(client, upstream)
    upstream.script(tokens("Sunny."), done())
    send(client, QUESTION, answered(message_id, call_0="Sun"))
    before = shown(client)
    upstream.script(tokens("No idea."), done())
    send(client, QUESTION, trigger="regenerate-message")
    assert shown(client)[-1]["parts"][0]["text"] == "No idea."
    upstream.script(tokens("Bye."), done())
    send(client, *before, {**QUESTION, "id": "q2"})
    assert roles(upstream) == ["user", "assistant", "tool", "assistant", "user"]
    assert shown(client)[:2] == before


def test_pages_keep_a_message_whole(client: Client, upstream: ScriptedUpstream) -> None:
    message_id = call(client, upstream)
    upstream.script(tokens("Sunny."), done())
    send(client, QUESTION, answered(message_id, call_0="Sun"))
    upstream.script(tokens("Bye."), done())
    whole = shown(client)
    send(client, *whole, {**QUESTION, "id": "q2"})
    newest = client.request("GET", f"{CHAT}/kitchen?limit=4")
    assert [message["role"] for message in newest.json["messages"]] == ["user", "assistant"]
    older = client.get(newest.headers["Link"].partition("<")[2].partition(">")[0])["messages"]
    assert older == whole
    # A page that is smaller than the message has a part of it. What is shown then is still known.
    parts = [message for limit in ("?limit=3",) for message in shown(client, limit)]
    assert [message["role"] for message in parts] == ["user", "assistant"]
    single = client.request("GET", f"{CHAT}/kitchen?limit=1").json["messages"]
    upstream.script(tokens("Really."), done())
    send(client, *single, {**QUESTION, "id": "q3"})
    assert roles(upstream)[-2:] == ["assistant", "user"]


def test_a_stop_of_the_question_stops_the_reply_to_outputs(client: Client, upstream: ScriptedUpstream) -> None:
    message_id = call(client, upstream)
    gate = upstream.gate()
    upstream.script(tokens("Sunny"), hold(gate), done())
    stream = open_chat(client, QUESTION, answered(message_id, call_0="Sun"))
    upstream.wait_call()
    resumed = client.open("GET", f"{CHAT}/kitchen/stream")
    stopped = client.request("POST", f"{CHAT}/kitchen/stop", headers={"Idempotency-Key": "q1"})
    gate.open()
    assert (stopped.status, stopped.json["id"], stopped.json["metadata"]["status"]) == (200, message_id, "stopped")
    sent, repeated = events_of(stream), events_of(resumed)
    assert sent[:2] == [{"type": "start", "messageId": message_id}, {"type": "start-step"}]
    assert sent[-1]["messageMetadata"]["status"] == "stopped"
    # Who resumes gets the calls again, as run already.
    names = {"toolCallId": "call_0", "toolName": "weather", "providerExecuted": True}
    assert repeated == [
        sent[0],
        {"type": "tool-input-start", **names},
        {"type": "tool-input-available", **names, "input": {"city": "Oslo"}},
        {"type": "tool-output-available", "toolCallId": "call_0", "output": "Sun"},
        *sent[1:],
    ]


def test_other_surfaces_see_the_outputs(client: Client, upstream: ScriptedUpstream) -> None:
    message_id = call(client, upstream)
    upstream.script(tokens("Sunny."), done())
    failed = {
        "type": "dynamic-tool",
        "toolName": "weather",
        "toolCallId": "call_0",
        "state": "output-error",
        "errorText": "No net",
    }
    send(client, QUESTION, {"id": message_id, "role": "assistant", "parts": [failed]})
    conversation = client.get("/api/conversations")["items"][0]["id"]
    found = [(each["role"], each["content"], each["tool_call_id"]) for each in client.messages(conversation)]
    assert found[2:] == [("tool", "No net", "call_0"), ("assistant", "Sunny.", "")]
    upstream.script(tokens("Again."), done())
    client.regenerate(conversation).finish()
    message = shown(client)[-1]
    assert (message["id"], [part["type"] for part in message["parts"]]) == (message_id, ["tool-weather", "step-start", "text"])
    assert (message["parts"][0]["errorText"], message["parts"][-1]["text"]) == ("No net", "Again.")
    items = client.get(f"/v1/conversations/conv_{conversation.replace('-', '')}/items?order=asc")["data"]
    assert [item["type"] for item in items] == ["message", "function_call", "function_call_output", "message"]
