"""What clients have built in: names of models, limits of tokens, summaries of reasoning; and errors in words of /v1."""

from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import OpenAI

from tests.clients.openai_cases import REASONING, SCRIPT, SETTINGS, TEXT, check_events, check_response
from tests.conftest import StartServer
from tests.support.client import Client
from tests.support.server import Server
from tests.support.upstream import ScriptedUpstream

HELLO: list[Any] = [{"role": "user", "content": "hello"}]


@pytest.fixture(scope="module")
def service(new_server: StartServer) -> Iterator[Server]:
    with new_server(**SETTINGS, MODEL_ALIASES="gpt-4o=default,gpt-5=tiny", MAX_OUTPUT_TOKENS="100") as server:
        yield server


@pytest.fixture
def api(service: Server, client: Client) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"http://127.0.0.1:{service.port}/v1", api_key=client.token) as package:
        yield package


@pytest.mark.parametrize("name", ["gpt-4o", "gpt-5", "tiny"])
def test_names_of_models(name: str, api: OpenAI, upstream: ScriptedUpstream) -> None:
    api.chat.completions.create(model=name, messages=HELLO)
    api.responses.create(model=name, input="hello")
    assert [call.body["model"] for call in upstream.generations()] == ["tiny", "tiny"]
    assert api.models.retrieve(name).id == name


def test_an_unknown_model_is_refused_in_words_of_v1(api: OpenAI) -> None:
    for ask in (
        lambda: api.chat.completions.create(model="gpt-9", messages=HELLO),
        lambda: api.responses.create(model="gpt-9", input="hello"),
    ):
        with pytest.raises(openai.BadRequestError) as refusal:
            ask()
        assert refusal.value.param == "model"
        assert "/v1/models" in refusal.value.message
        assert "model_tag" not in refusal.value.message


def test_more_tokens_than_allowed_are_the_limit(api: OpenAI, upstream: ScriptedUpstream) -> None:
    response = api.responses.create(model="tiny", input="hello", max_output_tokens=1_000_000)
    assert response.max_output_tokens == 100
    raw = api.chat.completions.with_raw_response.create(model="tiny", messages=HELLO, max_completion_tokens=1_000_000)
    assert raw.headers["x-max-completion-tokens"] == "100"
    assert [call.body["max_tokens"] for call in upstream.generations()] == [100, 100]


def test_a_summary_of_the_reasoning(api: OpenAI, upstream: ScriptedUpstream) -> None:
    upstream.script(*SCRIPT)
    response = api.responses.create(model="tiny", input="hello", reasoning={"summary": "auto"})
    body = check_response(response.to_dict()).to_dict()
    assert body["output"][0]["summary"] == [{"type": "summary_text", "text": REASONING}]  # type: ignore[index]
    assert body["reasoning"] == {"effort": None, "summary": "auto"}
    assert api.responses.retrieve(response.id).to_dict() == response.to_dict()
    assert response.conversation
    items = [item.to_dict() for item in api.conversations.items.list(response.conversation.id, order="asc")]
    assert items[1] == body["output"][0]  # type: ignore[index]


def test_a_summary_in_a_stream_and_its_rest(api: OpenAI, upstream: ScriptedUpstream) -> None:
    upstream.script(*SCRIPT)
    stream = api.responses.create(model="tiny", input="hello", reasoning={"summary": "auto"}, stream=True)
    events = [event.to_dict() for event in stream]
    check_events(events)
    told = dict.fromkeys(("response.reasoning_summary_text.delta", "response.output_text.delta"), "")
    for event in events:
        if event["type"] in told:
            told[event["type"]] += event["delta"]
    assert list(told.values()) == [REASONING, TEXT]
    assert "response.reasoning_summary_part.added" in {event["type"] for event in events}
    assert not any("reasoning_text" in event["type"] for event in events)
    for place, event in enumerate(events):
        rest = api.responses.retrieve(events[-1]["response"]["id"], stream=True, starting_after=event["sequence_number"])
        assert [one.to_dict() for one in rest] == events[place + 1 :]


@pytest.mark.parametrize("api_name", ["responses", "completions"])
def test_an_effort_is_passed_on(api_name: str, api: OpenAI, upstream: ScriptedUpstream) -> None:
    if api_name == "responses":
        response = api.responses.create(model="tiny", input="hello", reasoning={"effort": "high"})
        assert check_response(response.to_dict()).to_dict()["reasoning"] == {"effort": "high", "summary": None}
    else:
        api.chat.completions.create(model="tiny", messages=[{"role": "user", "content": "hello"}], reasoning_effort="high")
    assert upstream.generations()[-1].body["reasoning_effort"] == "high"


@pytest.mark.parametrize("reasoning", [{"effort": "endless"}, {"effort": 3}, {"mode": "deep"}], ids=["word", "number", "field"])
def test_another_reasoning_is_refused(reasoning: Any, api: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refusal:
        api.responses.create(model="tiny", input="hello", reasoning=reasoning)
    assert refusal.value.param == "reasoning"
