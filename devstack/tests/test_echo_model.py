"""The scripted model over real HTTP."""

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from devstack.echo_model import EchoServer

KEY = {"X-Internal-API-Key": "internal"}


@pytest.fixture
def server() -> Iterator[EchoServer]:
    with EchoServer(0, internal_api_key="internal", token_delay_s=0) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def generate(server: EchoServer, *contents: str, **parameters: Any) -> requests.Response:
    messages = [{"role": "user", "content": content} for content in contents]
    return requests.post(f"{server.url}/generate", json={"messages": messages, **parameters}, headers=KEY, timeout=5)


def events(answer: requests.Response) -> list[dict[str, Any]]:
    return [json.loads(block.removeprefix("data: ")) for block in answer.content.decode().split("\n\n") if block]


def test_echoes_the_last_message_token_by_token(server: EchoServer) -> None:
    answer = generate(server, "first", "नमस्ते  world\nagain")
    assert answer.headers["Content-Type"] == "text/event-stream"
    *tokens, last = events(answer)
    assert last == {"done": True}
    assert all(event.keys() == {"token", "gpu"} for event in tokens)
    assert [event["token"] for event in tokens] == ["You", " said:", " नमस्ते", "  world", "\nagain"]


def test_max_tokens_cuts_the_reply(server: EchoServer) -> None:
    assert len(events(generate(server, "one two three", max_tokens=3))) == 4


def test_reply_begins_before_it_is_complete(server: EchoServer) -> None:
    server.token_delay_s = 30
    body = {"messages": [{"role": "user", "content": "x"}]}
    with requests.post(f"{server.url}/generate", json=body, headers=KEY, stream=True, timeout=5) as answer:
        assert answer.status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        [],
        {"messages": []},
        {"messages": "x"},
        {"messages": [{"role": "user", "content": ""}]},
        {"messages": [{"role": "system", "content": "x"}]},
        {"messages": [{"role": "user", "content": "x" * 8001}]},
        {"messages": [{"role": "user", "content": "x" * 8000}] * 4 + [{"role": "user", "content": "x"}]},
        {"messages": [{"role": "user", "content": "x"}], "temperature": 2.1},
        {"messages": [{"role": "user", "content": "x"}], "max_tokens": 0},
        {"messages": [{"role": "user", "content": "x"}], "top_k": 201},
    ],
)
def test_refuses_what_the_protocol_refuses(server: EchoServer, body: object) -> None:
    answer = requests.post(f"{server.url}/generate", json=body, headers=KEY, timeout=5)
    assert answer.status_code == 400
    assert answer.json()["detail"]


def test_503_without_a_model(server: EchoServer) -> None:
    server.current_model = None
    assert generate(server, "x").status_code == 503


def test_lists_and_swaps_models(server: EchoServer) -> None:
    swapped = requests.post(f"{server.url}/models/swap", json={"model_tag": "echo-large"}, headers=KEY, timeout=5)
    assert swapped.status_code == 202
    assert swapped.json()["current_model"] == "echo-large"
    listed = requests.get(f"{server.url}/models", headers=KEY, timeout=5).json()
    assert listed["current_model"] == "echo-large"
    assert [(model["model_tag"], model["loaded"]) for model in listed["models"]] == [("echo", False), ("echo-large", True)]
    assert requests.post(f"{server.url}/models/swap", json={"model_tag": "none"}, headers=KEY, timeout=5).status_code == 400


def test_wants_the_internal_key(server: EchoServer) -> None:
    assert requests.get(f"{server.url}/models", timeout=5).status_code == 403
