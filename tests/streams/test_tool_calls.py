"""Calls of tools are a channel of their own on the primary surface, which is resumed as exactly as text, on every node."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.clients.tool_cases import CITIES, WEATHER, arguments, calling, finish
from tests.conftest import StartServer
from tests.support.client import Client, Stream
from tests.support.server import Server
from tests.support.steps import Step, done, event, hold, thought, tokens
from tests.support.upstream import ScriptedUpstream

OPENAI = {"INFERENCE_PROTOCOL": "openai", "INFERENCE_MODEL": "tiny"}
CALLS = [{"id": f"call_{index}", "name": "weather", "arguments": arguments(city)} for index, city in enumerate(CITIES)]
QUESTION = {"role": "user", "content": "How is the weather?"}
SAID = "Let me look."
LOOKING: tuple[Step, ...] = (thought("Hm."), tokens("Let me ", "look."))


@pytest.fixture(scope="module")
def service(new_server: StartServer) -> Iterator[Server]:
    with new_server(**OPENAI) as server:
        yield server


@pytest.fixture(scope="module")
def other_node(new_server: StartServer) -> Iterator[Server]:
    with new_server(**OPENAI) as server:
        yield server


def call_tools(client: Client, upstream: ScriptedUpstream, *script: Step, conversation: str = "") -> tuple[str, str]:
    """Ask with a tool that the model calls. Return the conversation and the reply."""
    upstream.script(*(script or (*LOOKING, *calling(*CITIES))))
    body = {"messages": [QUESTION], "tools": [WEATHER]}
    headers = {"X-Conversation-Id": conversation} if conversation else {}
    answer = client.request("POST", "/v1/chat/completions", body, headers)
    assert answer.status == 200, answer.json
    return answer.headers["X-Conversation-Id"], answer.headers["X-Message-Id"]


def answer_tools(client: Client, upstream: ScriptedUpstream, conversation: str) -> str:
    """Send the outputs. Return the reply."""
    calls = [
        {"id": call["id"], "type": "function", "function": {"name": call["name"], "arguments": call["arguments"]}}
        for call in CALLS
    ]
    outputs = [{"role": "tool", "tool_call_id": call["id"], "content": f"Sun {call['id']}"} for call in CALLS]
    body = {"messages": [QUESTION, {"role": "assistant", "content": SAID, "tool_calls": calls}, *outputs], "tools": [WEATHER]}
    upstream.script(tokens("Sunny."), done())
    answer = client.request("POST", "/v1/chat/completions", body, {"X-Conversation-Id": conversation})
    assert answer.status == 200, answer.json
    return str(answer.headers["X-Message-Id"])


def events_of(stream: Stream) -> list[tuple[Any, Any]]:
    stream.finish()
    return [(frame.event_id, frame.object) for frame in stream.frames if frame.object]


def test_calls_come_in_frames_of_their_own(client: Client, upstream: ScriptedUpstream, other_node: Server) -> None:
    conversation, reply = call_tools(client, upstream)
    events = events_of(client.follow(conversation, reply))
    assert events[-3:-1] == [(f"12-3-{number}", {"tool_call": call}) for number, call in enumerate(CALLS, 1)]
    assert (events[-1][1]["status"], events[-1][1]["finish_reason"]) == ("complete", "tool_calls")
    for node in (client, client.at(other_node.port)):
        for number, (event_id, _) in enumerate(events[:-1], 1):
            rest = events_of(node.follow(conversation, reply, last_event_id=event_id))
            assert rest[-len(events[number:]) :] == events[number:], event_id
    message = client.message(conversation, reply)
    assert (message["content"], message["tool_calls"], message["tool_call_id"]) == (SAID, CALLS, "")
    assert (message["status"], message["finish_reason"]) == ("complete", "tool_calls")


def test_a_reader_gets_the_calls_of_a_running_reply(client: Client, upstream: ScriptedUpstream, other_node: Server) -> None:
    gate = upstream.gate()
    conversation = client.create_conversation()
    upstream.script(*LOOKING, hold(gate), *calling(*CITIES))
    body = {
        "input": "How is the weather?",
        "conversation": conversation,
        "background": True,
        "tools": [{**WEATHER["function"], "type": "function"}],
    }
    reply = client.request("POST", "/v1/responses", body).json["id"].removeprefix("resp_")
    readers = [client.follow(conversation, reply), client.at(other_node.port).follow(conversation, reply)]
    for reader in readers:
        reader.read_until(SAID)
    gate.open()
    for reader in readers:
        assert events_of(reader)[-3:-1] == [(f"12-3-{number}", {"tool_call": call}) for number, call in enumerate(CALLS, 1)]


def test_a_reply_of_calls_alone(client: Client, upstream: ScriptedUpstream) -> None:
    conversation, reply = call_tools(client, upstream, *calling("Oslo"))
    assert [event_id for event_id, _ in events_of(client.follow(conversation, reply))] == ["0-0-1", "done"]
    message = client.message(conversation, reply)
    assert (message["content"], message["status"], len(message["tool_calls"])) == ("", "complete", 1)


def test_a_stopped_reply_has_no_calls(client: Client, upstream: ScriptedUpstream) -> None:
    gate = upstream.gate()
    conversation = client.create_conversation()
    *begun, end, marker = calling("Oslo")
    upstream.script(tokens("Let me"), *begun, hold(gate), end, marker)
    body = {"messages": [QUESTION], "tools": [WEATHER], "stream": True}
    stream = client.open("POST", "/v1/chat/completions", body, {"X-Conversation-Id": conversation})
    stream.read()
    client.stop(conversation)
    gate.open()
    stream.close()
    [_, reply] = client.messages(conversation)
    assert (reply["status"], reply["tool_calls"]) == ("stopped", [])


def test_outputs_are_messages_of_their_own(client: Client, upstream: ScriptedUpstream) -> None:
    conversation, reply = call_tools(client, upstream, conversation=client.create_conversation(title="weather"))
    last = answer_tools(client, upstream, conversation)
    shown = [(message["role"], message["content"], message["tool_call_id"]) for message in client.messages(conversation)]
    assert shown == [
        ("user", QUESTION["content"], ""),
        ("assistant", SAID, ""),
        ("tool", "Sun call_0", "call_0"),
        ("tool", "Sun call_1", "call_1"),
        ("assistant", "Sunny.", ""),
    ]
    _, called, *outputs, answer = client.messages(conversation)
    assert (called["id"], answer["id"], answer["parent_id"]) == (reply, last, outputs[-1]["id"])
    assert [output["follows_id"] for output in outputs] == [called["id"], outputs[0]["id"]]
    # Surfaces that know no tools leave the outputs out.
    assert [one["content"] for one in client.get(f"/conversations/{conversation}/messages")] == [
        QUESTION["content"],
        SAID,
        "Sunny.",
    ]


def test_an_answer_to_outputs_is_regenerated_with_them(client: Client, upstream: ScriptedUpstream) -> None:
    conversation, _ = call_tools(client, upstream, conversation=client.create_conversation())
    answer_tools(client, upstream, conversation)
    upstream.script(tokens("Very sunny."), done())
    client.regenerate(conversation).finish()
    assert [one["role"] for one in upstream.generations()[-1].body["messages"]] == ["user", "assistant", "tool", "tool"]
    assert [one["content"] for one in client.messages(conversation) if one["is_active"]][-1] == "Very sunny."
    # The next question still brings the calls along.
    client.ask(conversation, "Thanks!")
    roles = [one["role"] for one in upstream.generations()[-1].body["messages"]]
    assert roles == ["user", "assistant", "tool", "tool", "assistant", "user"]


def test_a_question_is_edited_and_its_calls_are_left_with_it(client: Client, upstream: ScriptedUpstream) -> None:
    conversation, called = call_tools(client, upstream, conversation=client.create_conversation())
    answer_tools(client, upstream, conversation)
    asked, _, output, *_ = client.messages(conversation)
    path = f"/api/conversations/{conversation}/messages"
    assert client.request("PUT", f"{path}/{output['id']}", {"content": "Rain"}).status == 400
    upstream.script(tokens("Hello!"), done())
    client.open("PUT", f"{path}/{asked['id']}", {"content": "Hello"}).finish()
    assert upstream.generations()[-1].messages == [{"role": "user", "content": "Hello"}]
    assert client.request("POST", f"{path}/{called}/activate").status == 200
    active = [one["role"] for one in client.messages(conversation) if one["is_active"]]
    assert active == ["user", "assistant", "tool", "tool", "assistant"]


def test_a_fork_has_the_calls_and_their_outputs(client: Client, upstream: ScriptedUpstream) -> None:
    conversation, _ = call_tools(client, upstream, conversation=client.create_conversation())
    answer_tools(client, upstream, conversation)
    fork = client.request("POST", f"/api/conversations/{conversation}/fork", {}).json["id"]
    names = ("role", "content", "tool_calls", "tool_call_id")
    copied, original = ([[one[name] for name in names] for one in client.messages(each)] for each in (fork, conversation))
    assert copied == original
    client.ask(fork, "Thanks!")
    roles = [one["role"] for one in upstream.generations()[-1].body["messages"]]
    assert roles == ["user", "assistant", "tool", "tool", "assistant", "user"]


OTHER = {"type": "function", "function": {"name": "clock", "parameters": {"type": "object"}}}


def offered(upstream: ScriptedUpstream) -> tuple[Any, Any]:
    body = upstream.generations()[-1].body
    return body.get("tools"), body.get("tool_choice")


def test_another_answer_is_offered_the_same_tools(client: Client, upstream: ScriptedUpstream) -> None:
    conversation, _ = call_tools(client, upstream, conversation=client.create_conversation())
    upstream.script(*calling("Oslo"))
    again = client.regenerate(conversation)
    assert [frame["tool_call"]["name"] for _, frame in events_of(again) if "tool_call" in frame] == ["weather"]
    assert offered(upstream) == ([WEATHER], None)
    # And so is the answer to an edit, and the one that is made in its place.
    upstream.script(tokens("Fine."), done())
    asked = client.messages(conversation)[0]["id"]
    path = f"/api/conversations/{conversation}/messages/{asked}"
    client.open("PUT", path, {"content": "And in Rome?"}).finish()
    assert offered(upstream) == ([WEATHER], None)
    client.regenerate(conversation, tool_choice="none").finish()
    assert offered(upstream) == (None, None)
    client.regenerate(conversation, tools=[OTHER], tool_choice="required").finish()
    assert offered(upstream) == ([OTHER], "required")
    client.regenerate(conversation).finish()
    assert offered(upstream) == ([OTHER], "required")


def test_a_message_offers_tools(client: Client, upstream: ScriptedUpstream) -> None:
    conversation = client.create_conversation()
    upstream.script(*LOOKING, *calling("Oslo"))
    stream = client.send(conversation, "How is the weather?", tools=[{"type": "function", **WEATHER["function"]}])
    assert [frame["tool_call"] for _, frame in events_of(stream) if "tool_call" in frame] == CALLS[:1]
    assert offered(upstream) == ([WEATHER], None)
    # The next message offers none.
    upstream.script(tokens("Fine."), done())
    client.ask(conversation, "Thanks!")
    assert offered(upstream) == (None, None)
    refused = client.send(conversation, "hi", tools=[{"type": "web_search"}])
    assert (refused.status, list(refused.json["fields"])) == (400, ["tools"])


def test_a_continued_answer_is_offered_its_tools(client: Client, upstream: ScriptedUpstream) -> None:
    conversation = client.create_conversation()
    upstream.script(tokens("Let me"), finish("length"), event("[DONE]"))
    reply = client.send(conversation, "How is the weather?", tools=[WEATHER])
    reply.finish()
    upstream.script(tokens(" look."), *calling("Oslo"))
    client.open("POST", f"/api/conversations/{conversation}/messages/{reply.message_id}/continue", {}).finish()
    assert offered(upstream) == ([WEATHER], None)
    message = client.message(conversation, reply.message_id)
    assert (message["content"], [call["name"] for call in message["tool_calls"]]) == ("Let me look.", ["weather"])
