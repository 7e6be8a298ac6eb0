"""The official `openai` package for Node with chat completions, unchanged, against the real server."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.clients.completion_cases import check_completion, rows_of, said_in
from tests.clients.conftest import StartScript
from tests.clients.node import NodeScript
from tests.clients.openai_cases import REASONING, SCRIPT, SETTINGS, TEXT
from tests.conftest import StartServer
from tests.support.client import Client
from tests.support.cutting import CuttingRelay
from tests.support.server import Server
from tests.support.steps import done, hold, respond, tokens
from tests.support.upstream import ScriptedUpstream
from tests.support.waiting import wait_until

CREATE = "chat.completions.create"


@pytest.fixture(scope="module")
def service(new_server: StartServer) -> Iterator[Server]:
    with new_server(**SETTINGS) as server:
        yield server


@pytest.fixture
def api(start_script: StartScript, service: Server, client: Client) -> NodeScript:
    """The package, as the same user as `client`."""
    script = start_script("openai.mjs")
    connect(script, client, service.port)
    return script


def connect(script: NodeScript, client: Client, port: int) -> None:
    assert script.ask(do="connect", baseURL=f"http://127.0.0.1:{port}/v1", apiKey=client.token) is None


def question(*contents: str, **more: Any) -> dict[str, Any]:
    """Return a request whose messages are the user's and the model's by turns."""
    messages = [{"role": ("user", "assistant")[place % 2], "content": content} for place, content in enumerate(contents)]
    return {"model": "tiny", "messages": messages, **more}


def test_an_answer_and_its_stream(api: NodeScript, upstream: ScriptedUpstream) -> None:
    upstream.script(*SCRIPT)
    answer = api.ask(do="call", path=CREATE, args=[question("good morning")])
    assert check_completion(answer).choices[0].message.content == TEXT
    asked = question("good morning", stream=True, stream_options={"include_usage": True})
    chunks = api.ask(do="all", path=CREATE, args=[asked])
    assert said_in(chunks) == (REASONING, TEXT, ["stop"])
    assert chunks[-1]["usage"] == {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}


def test_a_chat_is_one_conversation(api: NodeScript, client: Client) -> None:
    said: list[str] = []
    for number in range(4):
        said.append(f"question {number}")
        answer = api.ask(do="call", path=CREATE, args=[question(*said)])
        said.append(answer["choices"][0]["message"]["content"])
    reply = answer["id"].removeprefix("chatcmpl-")
    conversation = api.ask(do="call", path="responses.retrieve", args=[f"resp_{reply}"])["conversation"]["id"]
    assert [content for _, content in rows_of(client, conversation.removeprefix("conv_"))] == said


def test_a_cut_connection_asks_once(api: NodeScript, service: Server, client: Client, upstream: ScriptedUpstream) -> None:
    """The package repeats the request by itself, without an Idempotency-Key."""
    gate = upstream.gate()
    upstream.script(tokens("only "), hold(gate), tokens("once"), done())
    with CuttingRelay(service.port) as relay:
        connect(api, client, relay.port)
        api.tell(do="call", path=CREATE, args=[question("question")])
        upstream.wait_call("question")
        relay.cut_now()
        wait_until(lambda: relay.connections == 2, "the package repeats the request")
        gate.open()
        answer = api.answer()
    assert answer["choices"][0]["message"]["content"] == "only once"
    assert len(upstream.generations()) == 1


def test_errors(api: NodeScript, upstream: ScriptedUpstream) -> None:
    refused = api.ask(do="call", path=CREATE, args=[question("x", n=2)])
    assert (refused["error"], refused["code"], refused["param"]) == ("BadRequestError", "invalid", "n")
    upstream.script(respond("500 Internal Server Error", b"{}"))
    failure = api.ask(do="call", path=CREATE, args=[question("fail")])
    assert (failure["error"], failure["code"]) == ("InternalServerError", "upstream_error")
    assert len(upstream.generations()) == 1
