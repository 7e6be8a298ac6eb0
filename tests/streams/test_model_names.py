"""A reply names the model that answered, and a model that is gone is named as the trouble."""

import json
from collections.abc import Iterator

import pytest

from tests.conftest import StartServer
from tests.support.client import Client
from tests.support.server import Server
from tests.support.steps import done, respond, token, tokens
from tests.support.upstream import ScriptedUpstream

GONE = {"error": {"code": "model_not_found", "message": "The model `large` does not exist.", "type": "invalid_request_error"}}


@pytest.fixture(scope="module")
def service(new_server: StartServer) -> Iterator[Server]:
    with new_server(INFERENCE_PROTOCOL="openai", INFERENCE_MODEL="tiny") as server:
        yield server


def model_of_reply(client: Client, conversation: str) -> str:
    stream = client.ask(conversation, "hello")
    return str(client.message(conversation, stream.message_id)["model_tag"])


@pytest.mark.parametrize(
    ("named", "stored"),
    [
        ({"model": "tiny-2026-01-01"}, "tiny-2026-01-01"),
        ({"model": ""}, "tiny"),
        ({"model": None}, "tiny"),
        ({"model": 7}, "tiny"),
        ({"model": "a\u202eb"}, "tiny"),
        ({"model": "x" * 200}, "x" * 100),
        ({}, "tiny"),
    ],
    ids=["named", "empty", "null", "number", "unprintable", "long", "silent"],
)
def test_the_stored_name_is_the_one_of_the_model_that_answered(
    client: Client, conversation: str, upstream: ScriptedUpstream, named: dict[str, object], stored: str
) -> None:
    upstream.script(token("a", **named), done())
    assert model_of_reply(client, conversation) == stored


def test_a_chosen_model_that_is_gone_is_named_as_the_trouble(
    client: Client, conversation: str, upstream: ScriptedUpstream
) -> None:
    client.request("PATCH", f"/api/conversations/{conversation}", {"model_tag": "large"})
    upstream.script(respond("404 Not Found", json.dumps(GONE).encode()))
    refused = client.request("POST", f"/api/conversations/{conversation}/messages", {"content": "hello"})
    assert (refused.status, refused.json["code"]) == (400, "model_gone")
    # The question counts, and another model gets it.
    client.request("PATCH", f"/api/conversations/{conversation}", {"model_tag": "default"})
    upstream.script(tokens("a"), done())
    client.ask(conversation, "and now?")
    assert "hello" in str(upstream.generations()[-1].messages)


def test_a_default_model_that_is_gone_is_no_fault_of_the_user(
    client: Client, conversation: str, upstream: ScriptedUpstream
) -> None:
    upstream.script(respond("404 Not Found", json.dumps(GONE).encode()))
    refused = client.request("POST", f"/api/conversations/{conversation}/messages", {"content": "hello"})
    assert (refused.status, refused.json["code"]) == (502, "upstream_error")


def test_the_loaded_model_answers_where_requests_name_none(
    new_server: StartServer, upstream: ScriptedUpstream, client: Client
) -> None:
    with new_server(INFERENCE_PROTOCOL="nanochat") as server:
        other = client.at(server.port)
        conversation = other.create_conversation()
        other.get("/api/models")
        upstream.script(tokens("a"), done())
        assert model_of_reply(other, conversation) == "tiny"
