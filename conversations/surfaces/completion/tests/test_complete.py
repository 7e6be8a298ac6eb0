"""POST /conversation/completion/{id}"""

import uuid

import pytest

from conversations.surfaces.completion.tests.calls import complete, create
from tests.support.client import Client
from tests.support.steps import die, done, hold, respond, tokens
from tests.support.upstream import ScriptedUpstream


@pytest.mark.parametrize("body", [{}, {"stream": False}, {"stream": "false"}])
def test_the_answer_comes_whole(client: Client, upstream: ScriptedUpstream, body: dict) -> None:
    upstream.script(tokens("all", " at once"), done())
    answer = complete(client, create(client), message="hi", **body)
    assert answer.status == 200
    found = answer.json
    assert set(found) == {"id", "author", "content", "created_at"}
    assert (found["author"], found["content"]) == ("assistant", "all at once")


@pytest.mark.parametrize("spelled", [True, "true"])
def test_the_answer_comes_as_bare_text_while_it_is_made(
    client: Client, upstream: ScriptedUpstream, spelled: bool | str
) -> None:
    gate = upstream.gate()
    upstream.script(tokens("grün"), hold(gate), tokens(" है 好"), done())
    conversation = create(client)
    stream = complete(client, conversation, message="hi", stream=spelled)
    assert (stream.status, stream.headers["Content-Type"]) == (200, "text/plain; charset=utf-8")
    assert stream.headers["X-Accel-Buffering"] == "no"
    first = "grün".encode()
    assert stream.read_bytes(len(first)) == first
    gate.open()
    assert stream.body().decode() == " है 好"
    kept = client.message(conversation, stream.message_id)
    assert (kept["content"], kept["status"]) == ("grün है 好", "complete")


def test_a_text_that_breaks_off_is_kept_as_far_as_it_came(client: Client, upstream: ScriptedUpstream) -> None:
    upstream.script(tokens("half"), die())
    conversation = create(client)
    stream = complete(client, conversation, message="hi", stream=True)
    assert stream.body() == b"half"
    kept = client.message(conversation, stream.message_id)
    assert (kept["content"], kept["status"]) == ("half", "failed")


@pytest.mark.parametrize("stream", [True, False])
def test_a_refusal_of_the_model_is_an_http_error(client: Client, upstream: ScriptedUpstream, stream: bool) -> None:
    upstream.script(respond("503 Service Unavailable"))
    answer = complete(client, create(client), message="hi", stream=stream)
    assert (answer.status, answer.json["code"]) == (503, "upstream_unavailable")


@pytest.mark.parametrize(
    "body",
    [{}, {"message": ""}, {"message": 7}, {"message": "x" * 8001}, *({"message": "hi", "stream": s} for s in ("yes", 1, None))],
)
def test_a_malformed_request_is_refused(client: Client, body: dict) -> None:
    conversation = create(client)
    answer = complete(client, conversation, **body)
    assert (answer.status, answer.json["code"]) == (400, "invalid")
    assert client.messages(conversation) == []


def test_a_conversation_of_another_user_does_not_exist(client: Client, other_client: Client) -> None:
    conversation = create(client)
    assert other_client.get("/conversation") == []
    for wrong in (conversation, str(uuid.uuid4()), "nonsense"):
        assert complete(other_client, wrong, message="hi").status == 404
    assert client.messages(conversation) == []
