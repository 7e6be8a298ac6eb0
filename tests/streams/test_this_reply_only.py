"""What a request chooses for one reply: the model, the assistant, and how OpenAI's protocol samples."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import StartServer
from tests.support.auth import make_token
from tests.support.client import Client, Stream
from tests.support.server import Server
from tests.support.steps import done, hold, tokens
from tests.support.upstream import ScriptedUpstream

CHOICES: dict[str, Any] = {
    "reasoning_effort": "low",
    "top_p": 0.5,
    "stop": ["END", "###"],
    "seed": 7,
    "frequency_penalty": -0.5,
    "presence_penalty": 1.5,
    "response_format": {"type": "json_schema", "json_schema": {"name": "tea", "schema": {"type": "object"}}},
}
HARMLESS: dict[str, Any] = {"top_p": 1, "stop": [], "seed": None, "presence_penalty": 0, "response_format": {"type": "text"}}
VERBS = ("send", "edit", "regenerate")


@pytest.fixture(scope="module")
def service(new_server: StartServer) -> Iterator[Server]:
    with new_server(INFERENCE_PROTOCOL="openai", INFERENCE_MODEL="tiny") as server:
        yield server


@pytest.fixture(scope="module")
def nanochat_client(new_server: StartServer) -> Iterator[Client]:
    with new_server() as server:
        user = Client(server.port, make_token())
        yield user
        user.close()


def begin(client: Client, conversation: str, verb: str, **choices: Any) -> Stream:
    """Begin a reply with one of the verbs."""
    if verb == "send":
        return client.send(conversation, "question", **choices)
    if verb == "regenerate":
        return client.regenerate(conversation, **choices)
    asked = client.conversation(conversation)["messages"][-2]["id"]
    return client.open("PUT", f"/api/conversations/{conversation}/messages/{asked}", {"content": "other", **choices})


@pytest.mark.parametrize("verb", VERBS)
def test_a_model_answers_once(client: Client, conversation: str, upstream: ScriptedUpstream, verb: str) -> None:
    client.ask(conversation, "before")
    stream = begin(client, conversation, verb, model_tag="large")
    stream.finish()
    assert upstream.generations()[-1].body["model"] == "large"
    assert client.message(conversation, stream.message_id)["model_tag"] == "large"
    assert client.conversation(conversation)["model_tag"] == "default"
    client.ask(conversation, "after")
    assert upstream.generations()[-1].body["model"] == "tiny"


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(
    ("choice", "status", "code"),
    [({"model_tag": "unknown"}, 400, "invalid"), ({"assistant_id": "unknown"}, 404, "not_found")],
    ids=["model", "assistant"],
)
def test_what_does_not_exist_is_refused(
    client: Client, conversation: str, verb: str, choice: dict[str, str], status: int, code: str
) -> None:
    client.ask(conversation, "before")
    before = client.messages(conversation)
    refused = begin(client, conversation, verb, **choice)
    assert (refused.status, refused.json["code"]) == (status, code)
    assert client.messages(conversation) == before


@pytest.mark.parametrize("verb", VERBS)
def test_sampling_fields_are_passed_on(client: Client, conversation: str, upstream: ScriptedUpstream, verb: str) -> None:
    client.ask(conversation, "before")
    assert not upstream.generations()[-1].body.keys() & CHOICES.keys()
    begin(client, conversation, verb, **CHOICES).finish()
    body = upstream.generations()[-1].body
    assert {name: body[name] for name in CHOICES} == CHOICES


def test_empty_choices_are_none(client: Client, conversation: str, upstream: ScriptedUpstream) -> None:
    client.send(conversation, "question", stop="", response_format={"type": "text"}, seed=None).finish()
    assert not upstream.generations()[-1].body.keys() & CHOICES.keys()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("top_p", 1.5),
        ("top_p", "0.5"),
        ("stop", 7),
        ("stop", ["a", ""]),
        ("stop", ["a", "b", "c", "d", "e"]),
        ("stop", "a\0"),
        ("stop", "a" * 101),
        ("seed", 1.5),
        ("seed", True),
        ("seed", 2**63),
        ("frequency_penalty", -3),
        ("presence_penalty", 3),
        ("response_format", "json_object"),
        ("response_format", {"type": "xml"}),
        ("response_format", {"type": ["text"]}),
        ("response_format", {"type": "json_schema"}),
        ("response_format", {"type": "json_schema", "json_schema": {"name": "x" * 20_000}}),
    ],
    ids=lambda value: value if isinstance(value, str) and value.isidentifier() and len(value) < 20 else "",
)
def test_a_wrong_value_is_named(client: Client, conversation: str, field: str, value: Any) -> None:
    refused = client.send(conversation, "question", **{field: value})
    answer = refused.json
    assert (refused.status, answer["code"], list(answer["fields"])) == (400, "invalid", [field])


def test_a_key_tells_choices_apart(client: Client, conversation: str) -> None:
    key = {"Idempotency-Key": "once"}
    client.send(conversation, "question", headers=key, seed=1, model_tag="large").finish()
    client.send(conversation, "question", headers=key, seed=1, model_tag="large").finish()
    for other in ({"seed": 2, "model_tag": "large"}, {"seed": 1}):
        refused = client.send(conversation, "question", headers=key, **other)
        assert (refused.status, refused.json["code"]) == (422, "idempotency_mismatch")


def test_another_protocol_names_what_it_lacks(nanochat_client: Client, upstream: ScriptedUpstream) -> None:
    conversation = nanochat_client.create_conversation()
    refused = nanochat_client.send(conversation, "question", **CHOICES)
    answer = refused.json
    assert (refused.status, answer["code"], set(answer["fields"])) == (400, "invalid", set(CHOICES))
    assert nanochat_client.messages(conversation) == []
    nanochat_client.send(conversation, "question", **HARMLESS).finish()
    assert not upstream.generations()[-1].body.keys() & CHOICES.keys()


def test_a_message_that_waits_keeps_what_it_chose(client: Client, conversation: str, upstream: ScriptedUpstream) -> None:
    gate = upstream.gate()
    upstream.script(tokens("half"), hold(gate), done(), when="first")
    first = client.send(conversation, "first")
    first.read_until("half")
    path = f"/api/conversations/{conversation}/messages"
    body = {"content": "second", "when_busy": "enqueue", "stream": False, "model_tag": "large", "temperature": 0.25, **CHOICES}
    queued = client.request("POST", path, body).json
    assert (queued["status"], queued["model_tag"]) == ("queued", "large")
    gate.open()
    first.finish()
    client.follow(conversation, queued["reply_id"]).finish()
    sent = upstream.generations("second")[0].body
    assert {name: sent[name] for name in CHOICES} == CHOICES
    assert (sent["model"], sent["temperature"]) == ("large", 0.25)
    assert client.message(conversation, queued["reply_id"])["model_tag"] == "large"
    assert client.conversation(conversation)["model_tag"] == "default"
