"""POST /conversations/{id}/messages"""

import uuid

import pytest

from conversations.surfaces.contract.tests.calls import MESSAGE, create
from tests.support.client import Client
from tests.support.steps import done, respond, tokens
from tests.support.upstream import ScriptedUpstream


def test_a_message_is_answered_by_a_stream(client: Client, upstream: ScriptedUpstream) -> None:
    upstream.script(tokens("hello", " there"), done())
    conversation = create(client)
    # What a client accepts changes nothing: the contract knows one kind of stream.
    stream = client.open(
        "POST",
        f"/conversations/{conversation}/messages",
        {"message": {"content": "hi", "role": "user", "id": str(uuid.uuid4())}},
        {"Accept": "application/json, text/plain, */*"},
    )
    assert stream.headers["Content-Type"].split(";")[0] == "text/event-stream"
    assert stream.finish()["status"] == "complete"
    assert stream.text == "hello there"


def test_a_message_is_answered_by_json_where_stream_is_false(client: Client, upstream: ScriptedUpstream) -> None:
    upstream.script(tokens("hello", " there"), done())
    conversation = create(client)
    body = {"message": {"content": "hi"}, "stream": False}
    answer = client.request("POST", f"/conversations/{conversation}/messages", body)
    assert (answer.status, set(answer.json)) == (200, MESSAGE)
    assert (answer.json["role"], answer.json["content"], answer.json["token_count"]) == ("assistant", "hello there", 2)
    assert answer.json == client.get(f"/conversations/{conversation}/messages")[-1]


def test_a_failure_is_an_error_where_stream_is_false(client: Client, upstream: ScriptedUpstream) -> None:
    conversation = create(client)
    body = {"message": {"content": "hi"}, "stream": False}
    upstream.script(tokens("half"))
    failed = client.request("POST", f"/conversations/{conversation}/messages", body)
    assert (failed.status, failed.json["code"]) == (502, "upstream_error")
    upstream.script(respond("503 Service Unavailable"))
    refused = client.request("POST", f"/conversations/{conversation}/messages", body)
    assert (refused.status, refused.json["code"]) == (503, "upstream_unavailable")


def test_a_repeated_send_is_one_turn(client: Client) -> None:
    conversation = create(client)
    body, key = {"message": {"content": "once"}, "stream": False}, {"Idempotency-Key": "k-1"}
    first, again = (client.request("POST", f"/conversations/{conversation}/messages", body, key) for _ in range(2))
    assert first.json == again.json
    assert len(client.get(f"/conversations/{conversation}/messages")) == 2


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"message": "hi"},
        {"message": {}},
        {"message": {"content": ""}},
        {"message": {"content": "x" * 8001}},
        {"message": {"content": "hi", "status": "complete"}},
        {"message": {"content": "hi"}, "stream": "false"},
        {"message": {"content": "hi"}, "temperature": 1},
    ],
)
def test_a_malformed_message_is_refused(client: Client, body: dict) -> None:
    conversation = create(client)
    answer = client.request("POST", f"/conversations/{conversation}/messages", body)
    assert (answer.status, answer.json["code"]) == (400, "invalid")
    assert client.get(f"/conversations/{conversation}/messages") == []


def test_ignored_fields_may_be_nested_deeply(client: Client) -> None:
    nested: list = []
    for _ in range(900):
        nested = [nested]
    body = {"message": {"content": "hi", "token_count": nested}, "stream": False}
    assert client.request("POST", f"/conversations/{create(client)}/messages", body).status == 200
