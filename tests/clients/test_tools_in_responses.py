"""Function tools that the client runs, with responses of the official `openai` package for Python."""

from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import OpenAI

from tests.clients.openai_cases import REASONING, SETTINGS, THOUGHTS, check_events, check_response
from tests.clients.tool_cases import CITIES, WEATHER, WEATHER_FLAT, arguments, calling
from tests.conftest import StartServer
from tests.support.client import Client
from tests.support.server import Server
from tests.support.steps import done, thought, tokens
from tests.support.upstream import ScriptedUpstream

QUESTION = "How is the weather?"
SCRIPT = (*map(thought, THOUGHTS), tokens("Let me ", "look."), *calling(*CITIES))


@pytest.fixture(scope="module")
def service(new_server: StartServer) -> Iterator[Server]:
    with new_server(**SETTINGS) as server:
        yield server


@pytest.fixture(scope="module")
def other_node(new_server: StartServer) -> Iterator[Server]:
    with new_server(**SETTINGS) as server:
        yield server


@pytest.fixture
def api(service: Server, client: Client) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"http://127.0.0.1:{service.port}/v1", api_key=client.token) as package:
        yield package


def ask(api: OpenAI, upstream: ScriptedUpstream, **more: Any) -> Any:
    upstream.script(*calling(*CITIES))
    return api.responses.create(model="tiny", input=QUESTION, tools=[WEATHER_FLAT], **more)  # type: ignore[list-item]


def outputs_of(response: Any) -> list[dict[str, Any]]:
    return [
        {"type": "function_call_output", "call_id": item.call_id, "output": f"Sun: {item.arguments}"}
        for item in response.output
        if item.type == "function_call"
    ]


def test_calls_and_their_outputs(api: OpenAI, client: Client, upstream: ScriptedUpstream) -> None:
    response = ask(api, upstream, tool_choice={"type": "function", "name": "weather"}, parallel_tool_calls=False)
    body = check_response(response.to_dict()).to_dict()
    assert [(item.call_id, item.name, item.arguments) for item in response.output] == [
        (f"call_{index}", "weather", arguments(city)) for index, city in enumerate(CITIES)
    ]
    assert body["tools"] == [{**WEATHER_FLAT, "strict": None}]
    assert (body["tool_choice"], body["parallel_tool_calls"]) == ({"type": "function", "name": "weather"}, False)
    assert (response.status, response.output_text) == ("completed", "")
    assert api.responses.retrieve(response.id).to_dict() == response.to_dict()
    sent = upstream.generations()[-1].body
    assert (sent["tools"], sent["tool_choice"]) == ([WEATHER], {"type": "function", "function": {"name": "weather"}})

    upstream.script(tokens("Sunny."), done())
    outputs: list[Any] = outputs_of(response)
    last = api.responses.create(model="tiny", input=outputs, previous_response_id=response.id)
    assert (last.output_text, last.conversation) == ("Sunny.", response.conversation)
    roles = [message["role"] for message in upstream.generations()[-1].body["messages"]]
    assert roles == ["user", "assistant", "tool", "tool"]
    assert last.conversation
    items = [item.to_dict() for item in api.conversations.items.list(last.conversation.id, order="asc")]
    kinds = ["message", "function_call", "function_call", "function_call_output", "function_call_output", "message"]
    assert [item["type"] for item in items] == kinds
    assert [item["output"] for item in items[3:5]] == [output["output"] for output in outputs]
    for item in items:
        found = api.conversations.items.retrieve(str(item["id"]), conversation_id=last.conversation.id)
        assert found.to_dict() == item
    pages = [
        page.data[0].to_dict() for page in api.conversations.items.list(last.conversation.id, limit=1).iter_pages() if page.data
    ]
    assert pages == items[::-1]


def test_a_history_with_calls_is_continued(api: OpenAI, upstream: ScriptedUpstream) -> None:
    response = ask(api, upstream)
    said = [{"role": "user", "content": QUESTION}, *(item.to_dict() for item in response.output), *outputs_of(response)]
    upstream.script(tokens("Sunny."), done())
    last = api.responses.create(model="tiny", input=said, tools=[WEATHER_FLAT])  # type: ignore[arg-type,list-item]
    assert (last.output_text, last.conversation) == ("Sunny.", response.conversation)


def test_outputs_with_a_message_behind_them(api: OpenAI, upstream: ScriptedUpstream) -> None:
    response = ask(api, upstream)
    more: list[Any] = [*outputs_of(response), {"role": "user", "content": "In one word."}]
    upstream.script(tokens("Sunny."), done())
    last = api.responses.create(model="tiny", input=more, conversation=response.conversation.id)
    assert last.output_text == "Sunny."
    roles = [message["role"] for message in upstream.generations()[-1].body["messages"]]
    assert roles == ["user", "assistant", "tool", "tool", "user"]


def test_a_stream_and_its_rest_from_every_event(api: OpenAI, other_node: Server, upstream: ScriptedUpstream) -> None:
    upstream.script(*SCRIPT)
    stream = api.responses.create(model="tiny", input=QUESTION, tools=[WEATHER_FLAT], stream=True)  # type: ignore[list-item]
    events = [event.to_dict() for event in stream]
    check_events(events)
    final = check_response(events[-1]["response"])
    assert [item.type for item in final.output] == ["reasoning", "message", "function_call", "function_call"]
    assert final.output[0].to_dict()["content"][0]["text"] == REASONING
    done_calls = [event for event in events if event["type"] == "response.function_call_arguments.done"]
    assert [(event["arguments"], event["output_index"]) for event in done_calls] == [
        (arguments(city), index) for index, city in enumerate(CITIES, 2)
    ]
    for node in (api, api.with_options(base_url=f"http://127.0.0.1:{other_node.port}/v1")):
        for place, event in enumerate(events):
            rest = node.responses.retrieve(final.id, stream=True, starting_after=event["sequence_number"])
            assert [one.to_dict() for one in rest] == events[place + 1 :]


def test_the_helper_that_collects_a_stream(api: OpenAI, upstream: ScriptedUpstream) -> None:
    upstream.script(*calling(*CITIES))
    with api.responses.stream(model="tiny", input=QUESTION, tools=[WEATHER_FLAT]) as stream:  # type: ignore[list-item]
        kinds = [event.type for event in stream]
        response = stream.get_final_response()
    assert kinds.count("response.function_call_arguments.delta") == 2
    assert [getattr(item, "arguments", "") for item in response.output] == list(map(arguments, CITIES))


def test_the_calls_of_a_conversation_are_items(api: OpenAI) -> None:
    call = {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": "{}"}
    output = {"type": "function_call_output", "call_id": "c1", "output": "Sun"}
    said: list[Any] = [{"role": "user", "content": QUESTION}, call, output]
    conversation = api.conversations.create(items=said)
    items = [item.to_dict() for item in api.conversations.items.list(conversation.id, order="asc")]
    assert [item["type"] for item in items] == ["message", "function_call", "function_call_output"]
    api.conversations.items.delete(str(items[1]["id"]), conversation_id=conversation.id)
    left = [item.id for item in api.conversations.items.list(conversation.id, order="asc")]
    assert left == [items[0]["id"], items[2]["id"]]


def test_outputs_must_be_those_of_the_calls(api: OpenAI, upstream: ScriptedUpstream) -> None:
    response = ask(api, upstream)
    with pytest.raises(openai.BadRequestError) as refusal:
        api.responses.create(model="tiny", input=outputs_of(response)[:1], previous_response_id=response.id)  # type: ignore[arg-type]
    assert refusal.value.code == "tool_output_mismatch"
    # Nothing changed.
    upstream.script(tokens("Sunny."), done())
    api.responses.create(model="tiny", input=outputs_of(response), previous_response_id=response.id)  # type: ignore[arg-type]
