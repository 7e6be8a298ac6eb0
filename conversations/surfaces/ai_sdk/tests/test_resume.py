"""GET /api/chat/{chat_id}/stream and POST /api/chat/{chat_id}/stop"""

import json

import orjson
import pytest

from conversations.surfaces.ai_sdk.stream_format import CUT
from conversations.surfaces.ai_sdk.tests.calls import ask, events, question, refused, submit, text_of
from tests.conftest import StartServer
from tests.support.client import Client, Stream
from tests.support.raw import RawConnection
from tests.support.steps import done, hold, tokens
from tests.support.upstream import ScriptedUpstream


def read_until(stream: Stream, end: bytes) -> bytes:
    received = b""
    while end not in received:
        received += stream.read_bytes(1)
    return received


def test_the_running_reply_from_its_start(client: Client, upstream: ScriptedUpstream) -> None:
    gate = upstream.gate()
    upstream.script(tokens("Hello", " wörld"), hold(gate), tokens(" end"), done())
    sender = submit(client)
    upstream.wait_call()
    reader = client.open("GET", "/api/chat/kitchen/stream", headers={"Last-Event-ID": "3"})
    assert reader.headers["x-vercel-ai-ui-message-stream"] == "v1"
    gate.open()
    found = events(reader)
    assert found == events(sender)
    assert (found[0]["messageId"], text_of(found)) == (sender.headers["X-Message-Id"], "Hello wörld end")


@pytest.mark.slow
def test_a_node_that_ends_says_that_the_stream_is_not_over(
    client: Client, upstream: ScriptedUpstream, new_server: StartServer
) -> None:
    gate = upstream.gate()
    upstream.script(tokens("half"), hold(gate), tokens(" and whole"), done())
    sender = submit(client)
    with new_server(arguments=("--graceful-timeout", "7")) as ending:
        reader = client.at(ending.port).open("GET", "/api/chat/kitchen/stream")
        received = read_until(reader, b"half")
        ending.stop()
    received += reader.body()
    *_, last = received.decode().split("\n\n")[:-1]
    assert last.endswith(orjson.dumps({"type": "error", "errorText": CUT}).decode())
    assert b"[DONE]" not in received
    gate.open()
    assert text_of(events(sender)) == "half and whole"


@pytest.mark.parametrize("name", ["kitchen", "unknown", "%00", "x" * 201])
def test_no_content_without_a_running_reply(
    client: Client, other_client: Client, upstream: ScriptedUpstream, name: str
) -> None:
    ask(client)
    assert client.request("GET", f"/api/chat/{name}/stream").status == 204
    upstream.script(hold(upstream.gate()), done())
    submit(client, question("second", "q2"))
    assert other_client.request("GET", f"/api/chat/{name}/stream").status == 204


def test_a_token_is_needed(anonymous_client: Client) -> None:
    for method, path in (("GET", ""), ("GET", "/stream"), ("POST", "/stop")):
        assert anonymous_client.request(method, f"/api/chat/kitchen{path}").status == 401


def test_stop_answers_with_the_saved_reply(client: Client, upstream: ScriptedUpstream) -> None:
    upstream.script(tokens("part"), hold(upstream.gate()), done())
    stream = submit(client)
    read_until(stream, b"part")
    stopped = client.request("POST", "/api/chat/kitchen/stop")
    assert (stopped.status, stopped.json["role"], stopped.json["metadata"]["status"]) == (200, "assistant", "stopped")
    again = client.request("POST", "/api/chat/kitchen/stop")
    assert (again.status, again.json) == (200, stopped.json)
    assert stream.body().endswith(b"data: [DONE]\n\n")


def test_without_a_reply_there_is_nothing_to_stop(client: Client) -> None:
    assert client.request("POST", "/api/chat/unknown/stop").json["code"] == "not_found"


def test_a_stop_with_the_id_of_the_first_message_stops_a_chat_that_does_not_exist_yet(
    client: Client, other_client: Client, upstream: ScriptedUpstream
) -> None:
    early = client.request("POST", "/api/chat/kitchen/stop", headers={"Idempotency-Key": "q1"})
    assert early.status == 202
    assert client.request("GET", "/api/chat/kitchen").status == 404
    # Others may name a chat alike.
    assert ask(other_client)[-2]["messageMetadata"]["status"] == "complete"
    assert ask(client)[-2]["messageMetadata"]["status"] == "stopped"
    assert len(upstream.generations()) == 1
    assert ask(client, question("second", "q2"))[-2]["messageMetadata"]["status"] == "complete"


def test_a_refused_first_message_leaves_the_stop_for_its_repetition(client: Client, upstream: ScriptedUpstream) -> None:
    client.request("POST", "/api/chat/kitchen/stop", headers={"Idempotency-Key": "q1"})
    unknown = {**question("never said", "a0"), "role": "assistant"}
    assert refused(client, messages=[question("what?", "q0"), unknown, question()]).json["code"] == "history_mismatch"
    assert ask(client)[-2]["messageMetadata"]["status"] == "stopped"
    assert not upstream.generations()


def test_a_first_message_whose_body_is_still_coming_is_stopped(client: Client, upstream: ScriptedUpstream) -> None:
    body = json.dumps({"id": "kitchen", "message": question()}).encode()
    with RawConnection(client.port) as slow:
        slow.send_head("POST", "/api/chat", client.token, Content_Length=str(len(body)))
        slow.send(body[:10])
        # The server has read the headers when it answers a request that came later on a connection of its own.
        assert client.request("GET", "/api/conversations").status == 200
        assert client.request("POST", "/api/chat/kitchen/stop").status == 404
        slow.send(body[10:])
        assert slow.status() == 200
    assert not upstream.generations()


def test_a_stop_without_a_key_stops_no_later_first_message(client: Client) -> None:
    assert client.request("POST", "/api/chat/kitchen/stop").status == 404
    assert ask(client)[-2]["messageMetadata"]["status"] == "complete"


@pytest.mark.parametrize("name", ["%00", "x" * 201, "stream"])
def test_a_name_that_no_chat_can_have_leaves_no_mark(client: Client, name: str) -> None:
    assert client.request("POST", f"/api/chat/{name}/stop", headers={"Idempotency-Key": "q1"}).status == 404
