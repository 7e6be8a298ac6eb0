"""The examples and the client packages: every word of a reply arrives once, wherever the connection breaks."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from devstack.folder import PROJECT
from tests.clients.node import NodeScript, why_node_is_missing
from tests.clients.python_package import python_with_package
from tests.clients.typescript_package import NAME, installed_in, why_not_packed
from tests.support.client import Client
from tests.support.cutting import CuttingRelay
from tests.support.server import Server
from tests.support.steps import done, hang_up, hold, respond, tokens
from tests.support.upstream import ScriptedUpstream

READER = """
import importlib.util, json, sys, httpx
spec = importlib.util.spec_from_file_location("stream", sys.argv[1])
stream = importlib.util.module_from_spec(spec)
spec.loader.exec_module(stream)
url, token, conversation, content, key = sys.argv[2:]
with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=45) as client:
    try:
        print(json.dumps(list(stream.stream_reply(client, conversation, content, key))))
    except httpx.HTTPStatusError as refusal:
        print(json.dumps({"thrown": str(refusal.response.status_code)}))
"""
PACKAGE_READER = """
import asyncio, json, sys
from chat_api_client import AsyncChatClient, ChatClient, ChatError, Done, Failure, Reasoning, Token

kind, url, token, conversation, content, key = sys.argv[1:]

def as_json(event):
    match event:
        case Token(text): return {"token": text}
        case Reasoning(text): return {"reasoning": text}
        case Failure(code, detail): return {"error": code, "detail": detail}
        case Done(status): return {"done": True, "status": status}

async def read():
    async with AsyncChatClient(url, token) as chat:
        return [as_json(event) async for event in chat.send(conversation, content, key=key)]

try:
    if kind == "asyncio":
        said = asyncio.run(read())
    else:
        with ChatClient(url, token) as chat:
            said = [as_json(event) for event in chat.send(conversation, content, key=key)]
except ChatError as refusal:
    said = {"thrown": refusal.code or str(refusal.status)}
print(json.dumps(said))
"""
# Starts to read a reply, and returns a function that waits for all that was said, or for what was thrown.
Read = Callable[..., Callable[[], Any]]


@contextmanager
def reading_in_node() -> Iterator[Read]:
    if reason := why_node_is_missing():
        pytest.skip(reason)
    with NodeScript("stream.mjs") as script:

        def read(url: str, client: Client, conversation: str, content: str, key: str = "a-key") -> Callable[[], Any]:
            address = f"{url}/api/conversations/{conversation}/messages"
            script.tell(do="read", address=address, token=client.token, method="POST", body={"content": content}, key=key)
            return script.answer

        yield read


@contextmanager
def reading_in_python() -> Iterator[Read]:
    processes: list[subprocess.Popen[str]] = []

    def read(url: str, client: Client, conversation: str, content: str, key: str = "a-key") -> Callable[[], Any]:
        script = [sys.executable, "-c", READER, str(PROJECT / "examples" / "stream.py")]
        arguments = [*script, url, client.token or "", conversation, content, key]
        process = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
        processes.append(process)
        return lambda: json.loads(process.communicate(timeout=60)[0])

    yield read
    for process in processes:
        process.kill()
        process.communicate()


def reading_with_package(kind: str) -> AbstractContextManager[Read]:
    @contextmanager
    def reading() -> Iterator[Read]:
        with ExitStack() as processes:

            def read(url: str, client: Client, conversation: str, content: str, key: str = "a-key") -> Callable[[], Any]:
                arguments = (kind, url, client.token or "", conversation, content, key)
                process = processes.enter_context(python_with_package("-c", PACKAGE_READER, *arguments))
                return lambda: json.loads(process.communicate(timeout=60)[0])

            yield read

    return reading()


@contextmanager
def reading_with_typescript() -> Iterator[Read]:
    if reason := why_not_packed():
        pytest.skip(reason)
    with NodeScript("typescript.mjs", str(installed_in() / "node_modules" / NAME)) as script:

        def read(url: str, client: Client, conversation: str, content: str, key: str = "a-key") -> Callable[[], Any]:
            script.tell(do="read", url=url, token=client.token, conversation=conversation, content=content, key=key)
            return script.answer

        yield read


READERS: dict[str, Callable[[], AbstractContextManager[Read]]] = {
    "js": reading_in_node,
    "py": reading_in_python,
    "typescript package": reading_with_typescript,
    "python package": partial(reading_with_package, "blocking"),
    "python package, asyncio": partial(reading_with_package, "asyncio"),
}


@pytest.fixture(params=READERS.values(), ids=READERS)
def read(request: pytest.FixtureRequest) -> Iterator[Read]:
    with request.param() as reader:
        yield reader


@pytest.fixture
def relay(service: Server) -> Iterator[CuttingRelay]:
    with CuttingRelay(service.port) as open_relay:
        yield open_relay


def text_of(said: list[dict[str, Any]]) -> str:
    return "".join(part.get("token", "") for part in said)


def test_the_examples_are_small() -> None:
    for name in ("stream.js", "stream.py"):
        assert len((PROJECT / "examples" / name).read_text().splitlines()) <= 40


def test_the_text_arrives_once_although_the_connection_breaks_twice(
    read: Read, relay: CuttingRelay, client: Client, conversation: str, upstream: ScriptedUpstream
) -> None:
    first, second = upstream.gate(), upstream.gate()
    upstream.script(tokens("one ", "zwei ", "三 "), hold(first), tokens("fo", "ur "), hold(second), tokens("five"), done())
    # The first time in the middle of an event, the second time between two.
    relay.cut_at("三".encode(), b"id: 16")
    answer = read(relay.url, client, conversation, "count")
    relay.wait_cuts(1)
    first.open()
    relay.wait_cuts(2)
    second.open()
    said = answer()
    assert text_of(said) == "one zwei 三 four five"
    assert (said[-1]["done"], said[-1]["status"]) == (True, "complete")
    assert [message["content"] for message in client.messages(conversation)] == ["count", "one zwei 三 four five"]
    assert len(upstream.generations()) == 1


def test_a_send_whose_answer_is_lost_is_repeated_and_asks_one_question(
    read: Read, relay: CuttingRelay, client: Client, conversation: str
) -> None:
    relay.cut_at(b"")
    assert text_of(read(relay.url, client, conversation, "hello there")()) == "hello there"
    assert relay.connections >= 2
    assert [message["content"] for message in client.messages(conversation)] == ["hello there", "hello there"]


def test_a_failure_is_said_inside_the_stream(
    read: Read, service: Server, client: Client, conversation: str, upstream: ScriptedUpstream
) -> None:
    upstream.script(tokens("half "), hang_up())
    said = read(f"http://127.0.0.1:{service.port}", client, conversation, "hello")()
    assert text_of(said) == "half "
    assert said[-2]["error"] == "upstream_error"
    assert (said[-1]["done"], said[-1]["status"]) == (True, "failed")


def test_a_refusal_is_thrown_and_the_same_key_tries_again(
    read: Read, service: Server, client: Client, conversation: str, upstream: ScriptedUpstream
) -> None:
    url = f"http://127.0.0.1:{service.port}"
    upstream.script(respond("503 Service Unavailable"))
    assert read(url, client, conversation, "hello")()["thrown"]
    upstream.reset()
    assert text_of(read(url, client, conversation, "hello")()) == "hello"
    assert [message["content"] for message in client.messages(conversation) if message["role"] == "user"] == ["hello"]


class RefusingProxy(ThreadingHTTPServer):
    """Refuses the first two requests as a proxy or a server that ends does. Then it answers with a whole reply."""

    daemon_threads = True

    def __init__(self, status: int, retry_after: str) -> None:
        super().__init__(("127.0.0.1", 0), RefusingHandler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.refusal = (status, retry_after)
        self.keys: list[str | None] = []

    def __enter__(self) -> "RefusingProxy":
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


class RefusingHandler(BaseHTTPRequestHandler):
    server: RefusingProxy

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.keys.append(self.headers["Idempotency-Key"])
        status, retry_after = self.server.refusal if len(self.server.keys) <= 2 else (200, "")
        body = b'id: 5\ndata: {"token":"hello"}\n\nid: done\ndata: {"done":true,"status":"complete"}\n\n'
        self.send_response(status)
        if retry_after:
            self.send_header("Retry-After", retry_after)
        self.send_header("Content-Type", "text/event-stream" if status == 200 else "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keep the test's output short."""


@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_send_is_repeated_with_its_key_after_the_time_that_a_refusal_names(read: Read, client: Client, status: int) -> None:
    with RefusingProxy(status, "1") as proxy:
        assert text_of(read(proxy.url, client, "any", "hello", "its-key")()) == "hello"
    assert proxy.keys == ["its-key"] * 3


@pytest.mark.parametrize(("status", "retry_after"), [(503, ""), (503, "31"), (429, "1"), (409, "1")])
def test_a_refusal_that_does_not_pass_soon_is_thrown(read: Read, client: Client, status: int, retry_after: str) -> None:
    with RefusingProxy(status, retry_after) as proxy:
        assert read(proxy.url, client, "any", "hello", "its-key")()["thrown"]
    assert proxy.keys == ["its-key"]


def test_the_python_example_prints_a_reply(service: Server, client: Client, conversation: str) -> None:
    command = [sys.executable, str(PROJECT / "examples" / "stream.py"), conversation, "hello there"]
    environment = {**os.environ, "URL": f"http://127.0.0.1:{service.port}", "TOKEN": client.token or ""}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
    assert result.stdout == "hello there"
