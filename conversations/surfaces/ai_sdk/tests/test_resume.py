"""GET /api/chat/{chat_id}/stream and POST /api/chat/{chat_id}/stop"""

import orjson
import pytest

from conversations.surfaces.ai_sdk.stream_format import CUT
from conversations.surfaces.ai_sdk.tests.calls import ask, events, question, submit, text_of
from tests.conftest import StartServer
from tests.support.client import Client, Stream
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
