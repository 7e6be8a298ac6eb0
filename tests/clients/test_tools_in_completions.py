"""Function tools that the client runs, with chat completions of the official `openai` package for Python."""

from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import OpenAI, pydantic_function_tool
from pydantic import BaseModel

from tests.clients.completion_cases import check_completion, said_in
from tests.clients.openai_cases import SETTINGS
from tests.clients.tool_cases import CITIES, WEATHER, arguments, calling, finish, piece, pieces
from tests.conftest import StartServer
from tests.support.client import Client
from tests.support.server import Server
from tests.support.steps import done, event, tokens
from tests.support.upstream import ScriptedUpstream

ASKED: Any = {"role": "user", "content": "How is the weather?"}


@pytest.fixture(scope="module")
def service(new_server: StartServer) -> Iterator[Server]:
    with new_server(**SETTINGS) as server:
        yield server


@pytest.fixture
def api(service: Server, client: Client) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"http://127.0.0.1:{service.port}/v1", api_key=client.token) as package:
        yield package


def ask(api: OpenAI, *messages: Any, **more: Any) -> tuple[Any, str]:
    """Return the answer, and the conversation that the turn was added to."""
    more = {"tools": [WEATHER], **more}
    raw = api.chat.completions.with_raw_response.create(model="tiny", messages=messages, **more)
    return raw.parse(), raw.headers["x-conversation-id"]


def outputs_of(message: Any) -> list[dict[str, Any]]:
    return [
        {"role": "tool", "tool_call_id": call.id, "content": f"Sun for {call.function.arguments}"}
        for call in message.tool_calls
    ]


def test_calls_and_their_outputs(api: OpenAI, client: Client, upstream: ScriptedUpstream) -> None:
    upstream.script(*calling(*CITIES))
    answer, place = ask(api, ASKED, tool_choice="auto", parallel_tool_calls=True)
    completion = check_completion(answer.to_dict())
    [choice] = completion.choices
    assert (choice.message.content, choice.finish_reason) == (None, "tool_calls")
    calls = [(call.id, call.function.name, call.function.arguments) for call in choice.message.tool_calls or ()]
    assert calls == [(f"call_{index}", "weather", arguments(city)) for index, city in enumerate(CITIES)]
    sent = upstream.generations()[-1].body
    assert (sent["tools"], sent["tool_choice"], sent["parallel_tool_calls"]) == ([WEATHER], "auto", True)

    upstream.script(tokens("It is ", "sunny."), done())
    said = choice.message.to_dict()
    outputs = outputs_of(choice.message)
    last, same_place = ask(api, ASKED, said, *outputs)
    assert (last.choices[0].message.content, last.choices[0].finish_reason) == ("It is sunny.", "stop")
    assert same_place == place
    sent = upstream.generations()[-1].body["messages"]
    called = {"role": "assistant", "content": None, "tool_calls": said["tool_calls"]}
    assert sent == [ASKED, called, *outputs]

    rows = client.get(f"/api/conversations/{place}/messages")["items"]
    assert [row["role"] for row in rows] == ["user", "assistant", "tool", "tool", "assistant"]

    # The conversation goes on, and the model still sees the calls.
    answered = {"role": "assistant", "content": "It is sunny."}
    _, same_place = ask(api, ASKED, said, *outputs, answered, {"role": "user", "content": "Thanks!"})
    assert same_place == place
    assert upstream.generations()[-1].body["messages"] == [
        *(ASKED, called, *outputs, answered),
        {"role": "user", "content": "Thanks!"},
    ]


def test_calls_in_a_stream(api: OpenAI, upstream: ScriptedUpstream) -> None:
    upstream.script(tokens("Let me ", "look."), *calling(*CITIES))
    stream = api.chat.completions.create(model="tiny", messages=[ASKED], tools=[WEATHER], stream=True)  # type: ignore[list-item]
    chunks = [chunk.to_dict() for chunk in stream]
    assert said_in(chunks)[1:] == ("Let me look.", ["tool_calls"])
    upstream.script(tokens("Let me ", "look."), *calling(*CITIES))
    with api.chat.completions.stream(model="tiny", messages=[ASKED], tools=[WEATHER]) as helper:  # type: ignore[list-item]
        message = helper.get_final_completion().choices[0].message
    assert message.content == "Let me look."
    assert [call.function.arguments for call in message.tool_calls or ()] == list(map(arguments, CITIES))


class Weather(BaseModel):
    """Tell the weather."""

    city: str


def test_parsed_arguments(api: OpenAI, upstream: ScriptedUpstream) -> None:
    upstream.script(pieces(piece(0, name="Weather", arguments='{"city": "Oslo"}')), finish("tool_calls"), event("[DONE]"))
    answer = api.chat.completions.parse(model="tiny", messages=[ASKED], tools=[pydantic_function_tool(Weather)])
    [call] = answer.choices[0].message.tool_calls or ()
    assert call.function.parsed_arguments == Weather(city="Oslo")


def test_outputs_of_a_history_that_is_not_stored(api: OpenAI, upstream: ScriptedUpstream) -> None:
    called = {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}],
    }
    output = {"role": "tool", "tool_call_id": "c1", "content": ""}
    upstream.script(tokens("Unknown."), done())
    answer, _ = ask(api, ASKED, called, output)
    assert answer.choices[0].message.content == "Unknown."
    assert upstream.generations()[-1].body["messages"] == [ASKED, {**called, "content": None}, output]


def test_a_model_that_calls_without_an_id_or_a_reason(api: OpenAI, upstream: ScriptedUpstream) -> None:
    upstream.script(pieces({"function": {"name": "weather", "arguments": {"city": "Oslo"}}}), finish("stop"), event("[DONE]"))
    answer, _ = ask(api, ASKED)
    [call] = answer.choices[0].message.tool_calls
    assert (call.function.arguments, answer.choices[0].finish_reason) == ('{"city":"Oslo"}', "tool_calls")
    assert call.id.startswith("call_")


def test_pieces_of_several_calls_in_turns(api: OpenAI, upstream: ScriptedUpstream) -> None:
    upstream.script(
        pieces(piece(0, name="weather", arguments='{"city":'), piece(1, name="weather", arguments='{"city":')),
        pieces(piece(0, arguments='"Oslo"}')),
        pieces(piece(1, arguments='"Rom"}')),
        finish("tool_calls"),
        event("[DONE]"),
    )
    answer, _ = ask(api, ASKED)
    calls = answer.choices[0].message.tool_calls
    assert [call.function.arguments for call in calls] == ['{"city":"Oslo"}', '{"city":"Rom"}']


def test_a_call_that_was_cut_at_the_limit_is_left_out(api: OpenAI, upstream: ScriptedUpstream) -> None:
    upstream.script(
        tokens("Let me look."), pieces(piece(0, name="weather", arguments='{"ci')), finish("length"), event("[DONE]")
    )
    answer, _ = ask(api, ASKED)
    assert (answer.choices[0].message.tool_calls, answer.choices[0].finish_reason) == (None, "length")


def test_a_call_without_tools_is_refused(api: OpenAI, upstream: ScriptedUpstream) -> None:
    upstream.script(*calling("Oslo"))
    with pytest.raises(openai.InternalServerError) as failure:
        ask(api, ASKED, tools=openai.omit)
    assert failure.value.code == "tool_call_unsupported"


@pytest.mark.parametrize("count", [33, 70_000], ids=["calls", "characters"])
def test_too_much_is_a_failure(count: int, api: OpenAI, upstream: ScriptedUpstream) -> None:
    calls = [piece(index, name="weather", arguments="{}") for index in range(33)]
    upstream.script(pieces(*(calls if count == 33 else [piece(0, name="weather", arguments="x" * count)])), done())
    with pytest.raises(openai.InternalServerError) as failure:
        ask(api, ASKED)
    assert failure.value.code == "upstream_error"


@pytest.mark.parametrize(
    "outputs",
    [
        [],
        [{"role": "tool", "tool_call_id": "call_0", "content": "Sun"}],
        [{"role": "tool", "tool_call_id": name, "content": "Sun"} for name in ("call_0", "call_1", "call_2")],
        [{"role": "tool", "tool_call_id": name, "content": "Sun"} for name in ("call_0", "call_7")],
    ],
    ids=["none", "one", "three", "another"],
)
def test_outputs_must_be_those_of_the_calls(outputs: list[Any], api: OpenAI, upstream: ScriptedUpstream) -> None:
    upstream.script(*calling(*CITIES))
    answer, place = ask(api, ASKED)
    said = answer.choices[0].message.to_dict()
    if not outputs:
        # The user goes on without them: then the model sees neither.
        upstream.script(tokens("Fine."), done())
        _, same_place = ask(api, ASKED, said, {"role": "user", "content": "Never mind."})
        assert same_place == place
        joined = f"{ASKED['content']}\n\nNever mind."
        assert upstream.generations()[-1].body["messages"] == [{"role": "user", "content": joined}]
        return
    with pytest.raises(openai.BadRequestError) as refusal:
        ask(api, ASKED, said, *outputs)
    assert refusal.value.code == "tool_output_mismatch"


@pytest.mark.parametrize(
    ("choices", "named"),
    [
        ({"tools": [{"type": "web_search"}]}, "tools"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools"),
        ({"tools": [WEATHER] * 129}, "tools"),
        ({"tools": "weather"}, "tools"),
        ({"tool_choice": "sometimes"}, "tool_choice"),
        ({"tools": [], "tool_choice": "required"}, "tool_choice"),
        ({"functions": [WEATHER["function"]]}, "functions"),
    ],
)
def test_what_is_wrong_is_named(choices: dict[str, Any], named: str, api: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refusal:
        api.chat.completions.create(model="tiny", messages=[ASKED], extra_body={"tools": [WEATHER], **choices})
    assert refusal.value.param == named
