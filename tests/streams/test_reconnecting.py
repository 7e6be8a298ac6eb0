"""A client library that repeats the POST when its connection breaks: it reads on, and nothing is begun twice."""

from collections.abc import Callable

import pytest

from tests.support.auth import make_token
from tests.support.client import Client, Stream
from tests.support.server import Server
from tests.support.steps import done, hold, respond, tokens
from tests.support.upstream import ScriptedUpstream

KEY = {"Idempotency-Key": "once"}
Post = Callable[[dict[str, str]], Stream]


@pytest.fixture(params=[{}, KEY], ids=["without a key", "with a key"])
def key(request: pytest.FixtureRequest) -> dict[str, str]:
    return dict(request.param)


@pytest.fixture(params=["send", "edit", "regenerate"])
def post(request: pytest.FixtureRequest, client: Client, conversation: str, key: dict[str, str]) -> Post:
    """Send, edit or regenerate, with these headers; always the same request."""
    question = "" if request.param == "send" else client.ask(conversation, "before").headers["X-User-Message-Id"]
    method, path, body = {
        "send": ("POST", "messages", {"content": "question"}),
        "edit": ("PUT", f"messages/{question}", {"content": "question"}),
        "regenerate": ("POST", "regenerate", {}),
    }[request.param]
    return lambda headers: client.open(method, f"/api/conversations/{conversation}/{path}", body, {**key, **headers})


def seen(last_event_id: int | str) -> dict[str, str]:
    return {"Last-Event-ID": str(last_event_id)}


def test_a_repeated_request_reads_on(client: Client, conversation: str, post: Post, upstream: ScriptedUpstream) -> None:
    gate = upstream.gate()
    upstream.script(tokens("one"), hold(gate), tokens(" two"), done())
    first = post({})
    first.read_until("one")
    messages = client.messages(conversation)
    first.abort()
    again = post(seen(first.last_event_id))
    gate.open()
    assert again.finish()["status"] == "complete"
    assert (again.text, again.message_id) == (" two", first.message_id)
    later = post(seen(4))
    later.finish()
    assert later.text == "two"
    assert [item["id"] for item in client.messages(conversation)] == [item["id"] for item in messages]


def test_a_client_that_has_the_end_is_told_to_stop(client: Client, conversation: str, post: Post) -> None:
    first = post({})
    first.finish()
    count = len(client.messages(conversation))
    for _ in range(3):
        again = post(seen("done"))
        assert (again.status, again.message_id, again.body()) == (204, first.message_id, b"")
    assert len(client.messages(conversation)) == count


def test_so_is_one_whose_reply_failed(client: Client, conversation: str, upstream: ScriptedUpstream) -> None:
    upstream.script(respond("503 Service Unavailable"))
    client.send(conversation, "fail", headers=KEY)
    calls = len(upstream.generations())
    assert client.send(conversation, "fail", headers={**KEY, **seen("done")}).status == 204
    assert client.send(conversation, "fail", headers=seen("done")).status == 204
    assert len(upstream.generations()) == calls


@pytest.mark.parametrize("last_event_id", [3, "done"])
def test_another_question_is_a_turn_of_its_own(client: Client, conversation: str, last_event_id: int | str) -> None:
    client.ask(conversation, "question")
    other = client.send(conversation, "another question", headers=seen(last_event_id))
    other.finish()
    assert other.text == "another question"
    again = client.send(conversation, "question", headers=seen(last_event_id))
    again.finish()
    assert again.text == "question"
    assert len(client.messages(conversation)) == 6


@pytest.mark.parametrize("last_event_id", ["x", "-1", "2147483648"])
def test_an_impossible_id_is_refused_before_anything_is_saved(client: Client, conversation: str, last_event_id: str) -> None:
    refused = client.send(conversation, "question", headers=seen(last_event_id))
    assert (refused.status, list(refused.json["fields"])) == (400, ["Last-Event-ID"])
    assert client.messages(conversation) == []


@pytest.mark.parametrize("surface", ["primary", "contract", "session"])
@pytest.mark.parametrize("place", ["Last-Event-ID", "lastEventId", "after"])
def test_every_surface_knows_every_way_to_name_the_last_event(
    client: Client, upstream: ScriptedUpstream, surface: str, place: str
) -> None:
    upstream.script(tokens("one", " two"), done())
    conversation = client.create_conversation()
    path, body = {
        "primary": (f"/api/conversations/{conversation}/messages", {"content": "question"}),
        "contract": (f"/conversations/{conversation}/messages", {"message": {"content": "question"}}),
        "session": ("/api/v1/chat/stream", {"session_id": conversation, "message": "question"}),
    }[surface]

    def send(last_event_id: int | str = "") -> Stream:
        headers, query = (seen(last_event_id), "") if place == "Last-Event-ID" else ({}, f"?{place}={last_event_id}")
        return client.open("POST", f"{path}{query}", body, {"Accept": "text/event-stream", **headers})

    first = send()
    first.finish()
    again = send(3)
    again.finish()
    assert (again.text, again.message_id) == (" two", first.message_id)
    assert send("done").status == 204
    refused = send("nonsense")
    assert (refused.status, b"Must be the id of an event" in refused.body()) == (400, True)
    assert len(upstream.generations()) == 1


def test_a_stranger_finds_nothing(client: Client, service: Server, conversation: str) -> None:
    client.ask(conversation, "question")
    stranger = Client(service.port, make_token())
    path = f"/api/conversations/{conversation}/messages"
    assert stranger.request("POST", path, {"content": "question"}, seen("done")).status == 404
