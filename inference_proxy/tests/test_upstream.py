"""Calls to the inference service, and the connections that they share."""

import base64
import http.client
import select
import socket
import threading
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import urllib3

from chatapi.outgoing.connections import new_pools
from inference_proxy.exceptions import UpstreamFailure
from inference_proxy.protocols.base import GenerationRequest
from inference_proxy.replies.generation import Generation
from inference_proxy.replies.store import Directives, Draft, FinishedReply
from inference_proxy.upstream import call as upstream_module
from inference_proxy.upstream.call import UpstreamCall
from tests.support.steps import done, hold, respond, tokens
from tests.support.upstream import ScriptedUpstream
from tests.support.waiting import LIMIT_S, wait_until


@pytest.fixture
def upstream(settings: Any) -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream() as scripted:
        settings.INFERENCE_SERVICE_URL = scripted.url
        settings.INFERENCE_PROTOCOL = "openai"
        yield scripted


@pytest.fixture(autouse=True)
def pools(monkeypatch: pytest.MonkeyPatch) -> urllib3.PoolManager:
    """Connections of this test's own."""
    pools = new_pools(hosts=1, connections=4)
    monkeypatch.setattr(upstream_module, "_pools", pools)
    return pools


def connections_made(pools: urllib3.PoolManager) -> int:
    [key] = pools.pools.keys()
    return int(pools.pools[key].num_connections)


def request_for(content: str) -> GenerationRequest:
    return GenerationRequest([{"role": "user", "content": content}])


def open_call(content: str) -> UpstreamCall:
    call = UpstreamCall(start_timeout_s=LIMIT_S, idle_timeout_s=LIMIT_S, total_timeout_s=LIMIT_S)
    call.open("/v1/chat/completions", {"messages": request_for(content).messages}, {})
    return call


def read_all(call: UpstreamCall) -> bytes:
    body = b""
    while chunk := call.read():
        body += chunk
    return body


def test_the_login_in_the_address_goes_with_replies(upstream: ScriptedUpstream, settings: Any) -> None:
    settings.INFERENCE_SERVICE_URL = upstream.url.replace("http://", "http://us%40er:pass@")
    upstream.script(tokens("a"), done())
    read_all(open_call("hi"))
    assert upstream.calls[-1].headers["authorization"] == "Basic " + base64.b64encode(b"us@er:pass").decode()


def test_a_call_that_was_read_to_its_end_cuts_no_other(upstream: ScriptedUpstream, pools: urllib3.PoolManager) -> None:
    gate = upstream.gate()
    upstream.script(tokens("a"), done(), when="first")
    upstream.script(tokens("b"), hold(gate), tokens("c"), done(), when="second")
    first = open_call("first")
    read_all(first)
    second = open_call("second")
    second.read()
    first.cut()
    gate.open()
    assert b'"c"' in read_all(second)
    assert connections_made(pools) == 1


def test_a_call_that_was_cut_leaves_no_broken_connection_behind(upstream: ScriptedUpstream, pools: urllib3.PoolManager) -> None:
    gate = upstream.gate()
    upstream.script(tokens("a"), hold(gate), when="first")
    first = open_call("first")
    first.read()
    first.cut()
    with pytest.raises(UpstreamFailure):
        read_all(first)
    first.close()
    assert b"second" in read_all(open_call("second"))


def test_a_call_that_is_cut_before_it_opens_fails_at_once(upstream: ScriptedUpstream) -> None:
    upstream.script(hold(upstream.gate()))
    call = UpstreamCall(start_timeout_s=LIMIT_S, idle_timeout_s=LIMIT_S, total_timeout_s=LIMIT_S)
    call.cut()
    with pytest.raises(UpstreamFailure):
        call.open("/v1/chat/completions", {"messages": request_for("first").messages}, {})


def test_a_request_is_sent_in_one_piece(upstream: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch) -> None:
    upstream.script(tokens("a"), done())
    pieces: list[bytes] = []
    send = http.client.HTTPConnection.send
    monkeypatch.setattr(
        http.client.HTTPConnection, "send", lambda connection, piece: pieces.append(piece) or send(connection, piece)
    )
    read_all(open_call("in one piece"))
    [piece] = pieces
    assert piece.startswith(b"POST /v1/chat/completions HTTP/1.1\r\n")
    assert b"in one piece" in piece


@pytest.mark.parametrize("afterwards", [b"", b"HTTP/1.1 408 Request Timeout\r\n\r\n"])
def test_a_connection_that_ended_or_went_on_while_idle_is_not_used_again(
    settings: Any, pools: urllib3.PoolManager, afterwards: bytes
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(LIMIT_S)
        settings.INFERENCE_SERVICE_URL = f"http://127.0.0.1:{listener.getsockname()[1]}"
        for _ in range(2):
            calls: list[UpstreamCall] = []
            opening = threading.Thread(target=lambda calls=calls: calls.append(open_call("hello")))
            opening.start()
            service, _ = listener.accept()
            service.settimeout(LIMIT_S)
            service.recv(65536)
            service.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            opening.join(LIMIT_S)
            assert read_all(calls[0]) == b"ok"
            calls[0].close()
            idle = pools.connection_from_url(settings.INFERENCE_SERVICE_URL).pool.queue[-1].sock
            service.sendall(afterwards)
            service.close()
            wait_until(lambda idle=idle: select.select([idle], [], [], 0)[0], "the connection has something to read")


class SlowStore:
    """A store that takes its time to save the end of a reply."""

    def __init__(self) -> None:
        self.saving = threading.Event()
        self.may_save = threading.Event()
        self.saved: dict[uuid.UUID, FinishedReply] = {}

    def checkpoint(self, drafts: Sequence[Draft]) -> Directives:
        return Directives()

    def finish(self, reply: FinishedReply) -> None:
        self.saving.set()
        assert self.may_save.wait(LIMIT_S)
        self.saved[reply.reply_id] = reply

    def interrupt(self, reply_ids: Sequence[uuid.UUID]) -> frozenset[uuid.UUID]:
        return frozenset()

    def interrupt_abandoned(self) -> int:
        return 0


def test_a_stop_while_a_reply_is_saved_leaves_the_next_one_alone(
    upstream: ScriptedUpstream, pools: urllib3.PoolManager
) -> None:
    gate = upstream.gate()
    # Without the marker the reply's end is the end of the answer, so that the connection is free while it is saved.
    upstream.script(tokens("a"), done(marker=False), when="first")
    upstream.script(tokens("b"), hold(gate), tokens("c"), done(marker=False), when="second")
    store = SlowStore()
    first = Generation(uuid.uuid4(), request_for("first"), store)
    first.start()
    assert store.saving.wait(LIMIT_S)
    second = Generation(uuid.uuid4(), request_for("second"), store)
    second.start()
    wait_until(lambda: second.transcript.text() == "b", "the second reply has begun")
    assert connections_made(pools) == 1
    first.stop()
    gate.open()
    store.may_save.set()
    for generation in (first, second):
        assert generation.has_ended.wait(LIMIT_S)
    assert (store.saved[first.reply_id].text, store.saved[first.reply_id].status) == ("a", "complete")
    assert (store.saved[second.reply_id].text, store.saved[second.reply_id].status) == ("bc", "complete")


def test_a_kept_connection_that_closes_at_its_reuse_is_replaced_once(settings: Any) -> None:
    connections: list[socket.socket] = []

    def serve(server: socket.socket) -> None:
        for _ in range(2):
            client, _address = server.accept()
            connections.append(client)
            client.recv(65536)
            client.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
            if len(connections) == 1:
                # The next request is read and never answered.
                client.recv(65536)
                client.close()

    with socket.create_server(("127.0.0.1", 0)) as server:
        settings.INFERENCE_SERVICE_URL = f"http://127.0.0.1:{server.getsockname()[1]}"
        thread = threading.Thread(target=serve, args=(server,), daemon=True)
        thread.start()
        for content in ("first", "second"):
            call = open_call(content)
            assert read_all(call) == b"ok"
            call.close()
        thread.join(LIMIT_S)
    assert len(connections) == 2
    connections[1].close()


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({"Retry-After": "7"}, 7),
        ({"retry-after-ms": "1500"}, 2),
        ({"retry-after-ms": "1500", "Retry-After": "9"}, 9),
        ({"retry-after-ms": "soon"}, None),
        ({}, None),
    ],
    ids=["seconds", "milliseconds", "both", "no number", "neither"],
)
def test_a_busy_service_says_when_to_ask_again(upstream: ScriptedUpstream, headers: dict[str, str], wait_s: int | None) -> None:
    upstream.script(respond("503 Service Unavailable", b"{}", headers))
    with pytest.raises(UpstreamFailure) as refused:
        open_call("hi")
    assert refused.value.retry_after_s == wait_s


@pytest.mark.parametrize("status", [b"201 Created", b"202 Accepted", b"203 Non-Authoritative Information"])
def test_a_service_may_accept_with_another_success(settings: Any, status: bytes) -> None:
    def serve(server: socket.socket) -> None:
        client, _address = server.accept()
        client.recv(65536)
        client.sendall(b"HTTP/1.1 %b\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok" % status)
        client.close()

    with socket.create_server(("127.0.0.1", 0)) as server:
        settings.INFERENCE_SERVICE_URL = f"http://127.0.0.1:{server.getsockname()[1]}"
        thread = threading.Thread(target=serve, args=(server,), daemon=True)
        thread.start()
        call = open_call("question")
        assert read_all(call) == b"ok"
        call.close()
        thread.join(LIMIT_S)
