"""Following a reply from any point: nothing is missing and nothing comes twice."""

import http.client

import pytest

from tests.support.auth import make_token
from tests.support.client import Client, Stream
from tests.support.server import Server
from tests.support.steps import done, hold, respond, tokens
from tests.support.upstream import ScriptedUpstream

TEXTS = ["Hello", " wörld", " 👩‍👩‍👧", " e\u0301", " end"]
WHOLE = "".join(TEXTS)


def test_a_second_reader_gets_the_whole_running_reply(client: Client, conversation: str, upstream: ScriptedUpstream) -> None:
    gate = upstream.gate()
    upstream.script(tokens(*TEXTS[:2]), hold(gate), tokens(*TEXTS[2:]), done())
    sender = client.send(conversation, "share")
    sender.read_until(TEXTS[1])
    second = client.follow(conversation, sender.message_id)
    second.read_until(TEXTS[1])
    gate.open()
    assert sender.finish() == second.finish()
    assert sender.text == second.text == WHOLE
    assert sender.objects == second.objects


@pytest.mark.parametrize("surface", ["primary", "AI SDK", "OpenAI"])
def test_head_is_answered_at_once(client: Client, conversation: str, upstream: ScriptedUpstream, surface: str) -> None:
    gate = upstream.gate()
    upstream.script(tokens("one"), hold(gate), done())
    sender = client.send(conversation, "go on")
    sender.read_until("one")
    path = {
        "primary": f"/api/conversations/{conversation}/messages/{sender.message_id}/stream",
        "AI SDK": f"/api/chat/{conversation}/stream",
        "OpenAI": f"/v1/responses/{sender.message_id}?stream=true",
    }[surface]
    connection = http.client.HTTPConnection("127.0.0.1", client.port, timeout=10)
    connection.request("HEAD", path, headers={"Authorization": f"Bearer {client.token}"})
    answer = connection.getresponse()
    assert (answer.status, answer.headers["Content-Type"], answer.read()) == (200, "text/event-stream; charset=utf-8", b"")
    assert answer.headers["X-Message-Id"] == sender.message_id
    # The connection is free, although the reply goes on.
    connection.request("HEAD", "/api/health")
    assert connection.getresponse().status == 200
    connection.close()
    gate.open()
    assert sender.finish()["status"] == "complete"


@pytest.mark.parametrize("by_header", [True, False], ids=["Last-Event-ID", "after"])
def test_a_reader_goes_on_from_any_offset_of_a_running_reply(
    client: Client, conversation: str, upstream: ScriptedUpstream, by_header: bool
) -> None:
    gate = upstream.gate()
    upstream.script(tokens(*TEXTS), hold(gate), done())
    sender = client.send(conversation, "resume")
    sender.read_until(TEXTS[-1])
    readers = [follow_from(client, conversation, sender.message_id, offset, by_header) for offset in range(len(WHOLE) + 1)]
    gate.open()
    for offset, reader in enumerate(readers):
        assert reader.finish()["status"] == "complete"
        assert reader.text == WHOLE[offset:], f"from offset {offset}"
        assert all(frame.id > offset for frame in reader.frames if frame.id is not None), f"from offset {offset}"


@pytest.mark.parametrize("by_header", [True, False], ids=["Last-Event-ID", "after"])
def test_a_reader_goes_on_from_any_offset_of_an_ended_reply(
    client: Client, conversation: str, upstream: ScriptedUpstream, by_header: bool
) -> None:
    upstream.script(tokens(*TEXTS), done())
    sender = client.ask(conversation, "replay")
    for offset in range(len(WHOLE) + 1):
        reader = follow_from(client, conversation, sender.message_id, offset, by_header)
        last = reader.finish()
        assert (last["status"], last["token_count"]) == ("complete", len(TEXTS))
        assert reader.text == WHOLE[offset:], f"from offset {offset}"
        assert all(frame.id == len(WHOLE) for frame in reader.frames if frame.object and "token" in frame.object)


def test_the_header_wins_over_the_address(client: Client, conversation: str, upstream: ScriptedUpstream) -> None:
    upstream.script(tokens(*TEXTS), done())
    sender = client.ask(conversation, "both")
    reader = client.follow(conversation, sender.message_id, "?after=2", last_event_id=11)
    reader.finish()
    assert reader.text == WHOLE[11:]


def test_a_connection_that_breaks_again_and_again_loses_nothing(
    client: Client, conversation: str, upstream: ScriptedUpstream
) -> None:
    words = [f"wörd{number} " for number in range(60)]
    gates = [upstream.gate() for _ in words]
    steps = [step for word, gate in zip(words, gates, strict=True) for step in (tokens(word), hold(gate))]
    upstream.script(*steps, done())
    reader = client.send(conversation, "unsteady")
    message_id, text, offset = reader.message_id, "", 0
    for word, gate in zip(words, gates, strict=True):
        reader.read_until(word)
        text, offset = text + reader.text, reader.last_event_id
        reader.abort()
        gate.open()
        reader = client.follow(conversation, message_id, last_event_id=offset)
    assert reader.finish()["status"] == "complete"
    assert text + reader.text == "".join(words)
    assert client.message(conversation, message_id)["content"] == "".join(words)


def test_following_a_failed_reply_ends_with_its_error(client: Client, conversation: str, upstream: ScriptedUpstream) -> None:
    upstream.script(tokens("half"))
    sender = client.send(conversation, "fail")
    sender.finish()
    reader = client.follow(conversation, sender.message_id)
    assert reader.finish()["status"] == "failed"
    assert (reader.text, reader.objects[-2]["error"]) == ("half", "upstream_error")


def test_following_a_refused_reply_ends_with_its_error(client: Client, conversation: str, upstream: ScriptedUpstream) -> None:
    upstream.script(respond("503 Service Unavailable"))
    message_id = client.send(conversation, "refuse").json["message_id"]
    reader = client.follow(conversation, message_id)
    assert reader.finish()["status"] == "failed"
    assert reader.objects[-2]["error"] == "upstream_unavailable"


def test_a_client_that_has_the_end_is_told_to_stop(client: Client, service: Server, conversation: str) -> None:
    sender = client.ask(conversation, "all of it")
    path = f"/api/conversations/{conversation}/messages/{{}}/stream"
    has_the_end = {"Last-Event-ID": str(sender.frames[-1].event_id)}
    for query in ("", "?after=3"):
        answer = client.request("GET", path.format(sender.message_id) + query, headers=has_the_end)
        assert (answer.status, answer.content) == (204, b"")
    stranger = Client(service.port, make_token())
    assert stranger.request("GET", path.format(sender.message_id), headers=has_the_end).status == 404
    assert client.request("GET", path.format(sender.headers["X-User-Message-Id"]), headers=has_the_end).status == 404


def test_a_client_that_was_cut_off_before_the_end_gets_it(
    client: Client, conversation: str, upstream: ScriptedUpstream
) -> None:
    upstream.script(tokens("half"))
    sender = client.send(conversation, "fail")
    sender.finish()
    assert [frame.event_id for frame in sender.frames[1:]] == ["4", None, "done"]
    # As after the token, so after the error, which has no id of its own.
    reader = client.follow(conversation, sender.message_id, last_event_id=4)
    assert reader.finish()["status"] == "failed"
    assert (reader.text, len(reader.objects)) == ("", 2)


@pytest.mark.parametrize("by_header", [True, False], ids=["Last-Event-ID", "after"])
@pytest.mark.parametrize("offset", [len(WHOLE) + 1, 999_999_999, 2**31 - 2, 2**31 - 1])
def test_a_reader_that_is_ahead_waits_for_the_end(
    client: Client, conversation: str, upstream: ScriptedUpstream, offset: int, by_header: bool
) -> None:
    gate = upstream.gate()
    upstream.script(tokens(*TEXTS), hold(gate), done())
    sender = client.send(conversation, "ahead")
    sender.read_until(TEXTS[-1])
    reader = follow_from(client, conversation, sender.message_id, offset, by_header)
    gate.open()
    assert (reader.finish()["status"], reader.text) == ("complete", "")
    again = follow_from(client, conversation, sender.message_id, offset, by_header)
    assert (again.finish()["status"], again.text) == ("complete", "")


@pytest.mark.parametrize("last_event_id", ["2147483648", "-1", "x", "1.5", "99999999999999999999"])
def test_an_impossible_offset_is_a_400(client: Client, conversation: str, last_event_id: str) -> None:
    sender = client.ask(conversation, "hello")
    path = f"/api/conversations/{conversation}/messages/{sender.message_id}/stream"
    assert client.request("GET", path, headers={"Last-Event-ID": last_event_id}).status == 400
    assert client.request("GET", f"{path}?after={last_event_id}").status == 400


def test_strangers_and_user_messages_have_no_stream(client: Client, service: Server, conversation: str) -> None:
    sender = client.ask(conversation, "mine")
    stranger = Client(service.port, make_token())
    path = f"/api/conversations/{conversation}/messages/{{}}/stream"
    assert stranger.request("GET", path.format(sender.message_id)).status == 404
    assert client.request("GET", path.format(sender.headers["X-User-Message-Id"])).status == 404
    assert client.request("GET", path.format("not-an-id")).status == 404


def follow_from(client: Client, conversation: str, message_id: str, offset: int, by_header: bool) -> Stream:
    if by_header:
        return client.follow(conversation, message_id, last_event_id=offset)
    return client.follow(conversation, message_id, f"?after={offset}")
