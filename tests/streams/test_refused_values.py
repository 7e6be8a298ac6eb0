"""A value that the model's provider refuses is that user's own mistake."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import StartServer
from tests.support.client import Client
from tests.support.exchange import Exchange
from tests.support.server import Server
from tests.support.steps import Step, done, respond, tokens
from tests.support.upstream import ScriptedUpstream


@pytest.fixture(scope="module")
def service(new_server: StartServer) -> Iterator[Server]:
    with new_server(INFERENCE_PROTOCOL="openai", INFERENCE_DEFAULT_TEMPERATURE="1.9", MAX_TOKEN_BUDGET="100000") as server:
        yield server


def taking(field: str, most: float, message: str) -> Step:
    """Refuse requests whose value is larger, and answer others."""

    def step(exchange: Exchange) -> None:
        if exchange.call.body.get(field, 0) <= most:
            tokens("fine")(exchange)
            done()(exchange)
        else:
            error = {"message": message, "type": "invalid_request_error", "param": field, "code": "invalid_value"}
            respond("400 Bad Request", json.dumps({"error": error}).encode())(exchange)

    return step


TOO_LARGE = "max_tokens is too large. This model of gpu-7 supports at most 100 completion tokens."


@pytest.mark.parametrize("accept", ["application/json", "text/event-stream"])
def test_a_refused_value_is_a_400_and_changes_nothing_for_others(
    client: Client, conversation: str, upstream: ScriptedUpstream, accept: str
) -> None:
    upstream.script(taking("max_tokens", 100, TOO_LARGE))
    stream = client.send(conversation, "too many", max_tokens=512, headers={"Accept": accept})
    body = json.loads(stream.body())
    assert (stream.status, body["code"]) == (400, "value_refused")
    assert "gpu-7" not in str(body)
    assert body["fields"] == {"max_tokens": ["The model's provider refused this value. The largest value is 100."]}
    assert body["message_id"] == client.messages(conversation)[-1]["id"]
    assert client.messages(conversation)[-1]["error_code"] == "value_refused"
    client.send(conversation, "few", max_tokens=64).finish()
    assert upstream.generations("few")[-1].body["max_tokens"] == 64


def test_a_value_that_the_operator_chose_is_no_mistake_of_the_user(
    client: Client, conversation: str, upstream: ScriptedUpstream
) -> None:
    upstream.script(taking("temperature", 1, "temperature must be at most 1"))
    assert client.send(conversation, "mine", temperature=1.5).status == 400
    assert client.send(conversation, "default").status == 502


def context_of(limit: int) -> Step:
    """Answer as vLLM with this context and one token for each character."""

    def step(exchange: Exchange) -> None:
        length, asked = sum(len(message["content"]) for message in exchange.call.messages), exchange.call.body["max_tokens"]
        if length + asked <= limit:
            tokens("fine")(exchange)
            done()(exchange)
            return
        message = (
            f"'max_tokens' or 'max_completion_tokens' is too large: {asked}. This model's maximum context length is {limit} "
            f"tokens and your request has {length} input tokens ({asked} > {limit} - {length})."
        )
        respond("400 Bad Request", json.dumps({"object": "error", "message": message, "code": 400}).encode())(exchange)

    return step


@pytest.mark.parametrize(("max_tokens", "tries"), [(2000, 1), (990, 4)])
def test_a_reply_that_fits_no_context_is_refused_by_its_length(
    client: Client, conversation: str, upstream: ScriptedUpstream, max_tokens: int, tries: int
) -> None:
    upstream.script(tokens("a" * 20), done())
    for _ in range(4):
        client.ask(conversation, "q" * 20)
    upstream.script(context_of(1000), when="now that")
    stream = client.send(conversation, "now that is much", max_tokens=max_tokens)
    said: Any = json.loads(stream.body())
    assert (stream.status, said["code"]) == (400, "value_refused")
    assert len(upstream.generations("now that")) == tries
    room = 1000 - sum(len(message["content"]) for message in upstream.generations("now that")[-1].messages)
    assert said["fields"]["max_tokens"][0].endswith(f"The largest value is {room}.")
