"""What a request chooses of the answer: sampling, stop texts, and its form, with the official `openai` package for Python."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest
from openai import OpenAI
from pydantic import BaseModel

from tests.clients.completion_cases import check_completion
from tests.clients.openai_cases import SETTINGS, check_events, check_response
from tests.conftest import StartServer
from tests.support.client import Client
from tests.support.server import Server
from tests.support.steps import Step, done, event, tokens
from tests.support.upstream import ScriptedUpstream

CHOICES: dict[str, Any] = {"top_p": 0.5, "stop": ["\n\n"], "seed": 7, "frequency_penalty": 0.25, "presence_penalty": -1.0}
HELLO: list[Any] = [{"role": "user", "content": "hello"}]
TEA = '{"name": "Assam", "minutes": 4}'


class Tea(BaseModel):
    name: str
    minutes: int


@pytest.fixture(scope="module")
def service(new_server: StartServer) -> Iterator[Server]:
    with new_server(**SETTINGS) as server:
        yield server


@pytest.fixture
def api(service: Server, client: Client) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"http://127.0.0.1:{service.port}/v1", api_key=client.token) as package:
        yield package


def refused(*texts: str) -> tuple[Step, ...]:
    """Send a refusal as OpenAI's models do."""
    deltas = [{"choices": [{"index": 0, "delta": {"refusal": text}, "finish_reason": None}]} for text in texts]
    return (*(event(json.dumps(delta)) for delta in deltas), done())


def sent_to(upstream: ScriptedUpstream) -> dict[str, Any]:
    return upstream.generations()[-1].body


def test_a_completion_passes_the_choices_on(api: OpenAI, upstream: ScriptedUpstream) -> None:
    api.chat.completions.create(model="tiny", messages=HELLO, response_format={"type": "json_object"}, **CHOICES)
    sent = sent_to(upstream)
    assert {name: sent[name] for name in CHOICES} == CHOICES
    assert sent["response_format"] == {"type": "json_object"}


def test_a_response_passes_the_choices_on_and_shows_them(api: OpenAI, upstream: ScriptedUpstream) -> None:
    schema = {"type": "json_schema", "name": "tea", "schema": Tea.model_json_schema(), "strict": True}
    answer = api.responses.create(model="tiny", input="hello", text={"format": schema}, extra_body=CHOICES)  # type: ignore[arg-type]
    sent = sent_to(upstream)
    assert {name: sent[name] for name in CHOICES} == CHOICES
    inner = {name: value for name, value in schema.items() if name != "type"}
    assert sent["response_format"] == {"type": "json_schema", "json_schema": inner}
    for body in (answer.to_dict(), api.responses.retrieve(answer.id).to_dict()):
        check_response(body)
        assert (body["top_p"], body["frequency_penalty"], body["presence_penalty"]) == (0.5, 0.25, -1.0)
        assert body["text"] == {"format": {**schema, "description": None}}


def test_a_response_without_choices_shows_what_changes_nothing(api: OpenAI, upstream: ScriptedUpstream) -> None:
    body = api.responses.create(model="tiny", input="hello", text={"format": {"type": "text"}}).to_dict()
    assert (body["top_p"], body["frequency_penalty"], body["presence_penalty"]) == (1.0, 0.0, 0.0)
    assert body["text"] == {"format": {"type": "text"}}
    assert not {"top_p", "response_format"} & set(sent_to(upstream))


def test_zero_is_a_choice(api: OpenAI, upstream: ScriptedUpstream) -> None:
    body = api.responses.create(model="tiny", input="hello", top_p=0, temperature=0).to_dict()
    assert (body["top_p"], body["temperature"]) == (0, 0)
    assert (sent_to(upstream)["top_p"], sent_to(upstream)["temperature"]) == (0, 0)


@pytest.mark.parametrize("streams", [False, True])
def test_a_parsed_response(streams: bool, api: OpenAI, upstream: ScriptedUpstream) -> None:
    upstream.script(tokens(*TEA.partition(":")), done())
    if streams:
        with api.responses.stream(model="tiny", input="Which tea?", text_format=Tea) as stream:
            # Those that the package has parsed are no plain events.
            check_events([one.to_dict() for one in stream if one.type.endswith(".delta")])
            answer: Any = stream.get_final_response()
    else:
        answer = api.responses.parse(model="tiny", input="Which tea?", text_format=Tea)
    assert answer.output_parsed == Tea(name="Assam", minutes=4)
    # What the model sent is stored as it is.
    assert api.responses.retrieve(answer.id).output_text == TEA


@pytest.mark.parametrize("streams", [False, True])
def test_a_parsed_completion(streams: bool, api: OpenAI, upstream: ScriptedUpstream) -> None:
    upstream.script(tokens(*TEA.partition(":")), done())
    if streams:
        with api.chat.completions.stream(model="tiny", messages=HELLO, response_format=Tea) as stream:
            answer = stream.get_final_completion()
    else:
        answer = api.chat.completions.parse(model="tiny", messages=HELLO, response_format=Tea)
    assert answer.choices[0].message.parsed == Tea(name="Assam", minutes=4)
    assert sent_to(upstream)["response_format"]["json_schema"]["strict"] is True


@pytest.mark.parametrize("streams", [False, True])
def test_a_refusal_is_told_in_a_completion(streams: bool, api: OpenAI, upstream: ScriptedUpstream) -> None:
    upstream.script(*refused("I can't ", "help with that."))
    if streams:
        with api.chat.completions.stream(model="tiny", messages=HELLO, response_format=Tea) as stream:
            answer = stream.get_final_completion()
    else:
        answer = api.chat.completions.parse(model="tiny", messages=HELLO, response_format=Tea)
        assert answer.choices[0].message.content is None
    check_completion(answer.to_dict())
    assert (answer.choices[0].message.refusal, answer.choices[0].finish_reason) == ("I can't help with that.", "stop")
    assert answer.choices[0].message.parsed is None


@pytest.mark.parametrize("streams", [False, True])
def test_a_refusal_is_told_in_a_response(streams: bool, api: OpenAI, upstream: ScriptedUpstream) -> None:
    upstream.script(*refused("I can't ", "help with that."))
    if streams:
        with api.responses.stream(model="tiny", input="hello", text_format=Tea) as stream:
            events = [one.to_dict() for one in stream if not one.type.startswith("response.c")]
            answer: Any = stream.get_final_response()
        check_events(events)
        assert [one["refusal"] for one in events if one["type"] == "response.refusal.done"] == ["I can't help with that."]
    else:
        answer = api.responses.parse(model="tiny", input="hello", text_format=Tea)
    body = check_response(answer.to_dict()).to_dict()
    assert body["output"][-1]["content"] == [{"type": "refusal", "refusal": "I can't help with that."}]
    assert answer.output_parsed is None


def _bad(choices: dict[str, Any]) -> Callable[[OpenAI], Any]:
    return lambda api: api.responses.create(model="tiny", input="hello", extra_body=choices)


@pytest.mark.parametrize(
    ("choices", "named"),
    [
        ({"top_p": 2}, "top_p"),
        ({"stop": [""]}, "stop"),
        ({"seed": 1.5}, "seed"),
        ({"presence_penalty": 3}, "presence_penalty"),
        ({"text": {"format": {"type": "xml"}}}, "text"),
        ({"text": {"format": {"type": "json_schema"}}}, "text"),
        ({"text": "json"}, "text"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"logprobs": True}, "logprobs"),
    ],
)
def test_what_is_wrong_is_named(choices: dict[str, Any], named: str, api: OpenAI, upstream: ScriptedUpstream) -> None:
    with pytest.raises(openai.BadRequestError) as refusal:
        _bad(choices)(api)
    assert refusal.value.param == named
    assert not upstream.generations()
