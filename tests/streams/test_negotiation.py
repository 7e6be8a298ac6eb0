"""A reply comes as the client asks for it: events, lines, finished JSON, or later."""

import pytest

from tests.support.client import Client, Stream
from tests.support.steps import done, hold, tokens
from tests.support.upstream import ScriptedUpstream
from tests.support.waiting import wait_until


def send_for(client: Client, conversation: str, headers: dict[str, str], **fields: bool) -> Stream:
    return client.send(conversation, "in your way", headers=headers, **fields)


def test_lines_are_the_same_objects(client: Client, conversation: str, upstream: ScriptedUpstream) -> None:
    gate = upstream.gate()
    upstream.script(tokens("one"), hold(gate), tokens(" two"), done())
    stream = send_for(client, conversation, {"Accept": "application/x-ndjson"})
    assert stream.headers["Content-Type"] == "application/x-ndjson; charset=utf-8"
    assert stream.headers["Cache-Control"] == "no-cache, no-transform"
    assert stream.read_object() == {"token": "one", "gpu": 0}
    gate.open()
    assert stream.finish()["message_id"] == stream.message_id
    assert stream.text == "one two"


@pytest.mark.parametrize("accept", ["*/*", "text/event-stream", "text/event-stream, application/json;q=0.5", ""])
def test_events_are_the_default(client: Client, conversation: str, accept: str) -> None:
    stream = send_for(client, conversation, {"Accept": accept})
    assert stream.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    assert stream.finish()["status"] == "complete"


@pytest.mark.parametrize(
    ("headers", "fields"), [({}, {"stream": False}), ({"Accept": "application/json"}, {})], ids=["stream: false", "Accept"]
)
def test_the_finished_message_comes_as_json(
    client: Client, conversation: str, upstream: ScriptedUpstream, headers: dict[str, str], fields: dict[str, bool]
) -> None:
    upstream.script(tokens("all", " at", " once"), done())
    answer = send_for(client, conversation, headers, **fields)
    assert (answer.status, answer.headers["Content-Type"].split(";")[0]) == (200, "application/json")
    message = answer.json
    assert (message["content"], message["status"], message["token_count"]) == ("all at once", "complete", 3)
    assert message == client.message(conversation, answer.message_id)


def test_a_failure_in_the_middle_is_an_error_where_json_was_asked_for(
    client: Client, conversation: str, upstream: ScriptedUpstream
) -> None:
    upstream.script(tokens("half"))
    answer = send_for(client, conversation, {}, stream=False)
    error = answer.json
    assert (answer.status, error["code"]) == (502, "upstream_error")
    assert client.message(conversation, error["message_id"])["content"] == "half"


def test_a_reply_may_be_collected_later(client: Client, conversation: str, upstream: ScriptedUpstream) -> None:
    gate = upstream.gate()
    upstream.script(hold(gate), tokens("later"), done())
    accepted = send_for(client, conversation, {"Prefer": "respond-async"})
    assert accepted.status == 202
    assert accepted.headers["Preference-Applied"] == "respond-async"
    reader = client.open("GET", accepted.headers["Location"])
    gate.open()
    assert reader.finish()["status"] == "complete"
    assert reader.text == "later"
    assert client.get(accepted.headers["Content-Location"])["content"] == "later"


def test_a_reply_that_is_not_collected_is_made(client: Client, conversation: str) -> None:
    accepted = send_for(client, conversation, {"Prefer": "wait=1, respond-async"})
    location = accepted.headers["Content-Location"]
    message = wait_until(lambda: (m := client.get(location))["status"] != "streaming" and m, "the reply has ended")
    assert (message["status"], message["content"]) == ("complete", "in your way")


def test_following_by_lines(client: Client, conversation: str, upstream: ScriptedUpstream) -> None:
    upstream.script(tokens("one", " two"), done())
    sender = client.ask(conversation, "hello")
    path = f"/api/conversations/{conversation}/messages/{sender.message_id}/stream"
    reader = client.open("GET", path, headers={"Accept": "application/x-ndjson"})
    assert reader.finish()["status"] == "complete"
    assert reader.text == "one two"


@pytest.mark.parametrize("parameter", ["after", "lastEventId"])
def test_the_last_event_may_be_in_the_address(client: Client, conversation: str, parameter: str) -> None:
    reply_id = client.send(conversation, "good morning").finish()["message_id"]
    path = f"/api/conversations/{conversation}/messages/{reply_id}/stream"
    rest = client.open("GET", f"{path}?{parameter}=5")
    rest.finish()
    assert rest.text == "morning"
    assert client.request("GET", f"{path}?{parameter}=done").status == 204
    assert client.request("GET", f"{path}?{parameter}=nonsense").status == 400
    # The header is newer than the address, and the parameter of a reconnection newer than `after`.
    newest = {"lastEventId": "&after=0", "after": ""}[parameter]
    assert client.request("GET", f"{path}?{parameter}=done{newest}").status == 204
    assert client.open("GET", f"{path}?{parameter}=done", headers={"Last-Event-ID": "5"}).finish()["status"] == "complete"
