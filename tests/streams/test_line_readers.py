"""Clients that read a stream line by line lose nothing, whatever the text holds."""

import json
from typing import Any

import httpx
import pytest
import requests

from tests.support.client import Client
from tests.support.server import Server
from tests.support.steps import done, tokens
from tests.support.upstream import ScriptedUpstream

TEXT = "größe \u2028 and \u2029 and \x85 and \x0b\x0c\x1c\x1d\x1e 新しい 🎈"


def _with_requests(url: str, body: dict[str, Any], headers: dict[str, str]) -> list[str]:
    with requests.post(url, json=body, headers=headers, stream=True, timeout=30) as answer:
        return list(answer.iter_lines(decode_unicode=True))


def _with_httpx(url: str, body: dict[str, Any], headers: dict[str, str]) -> list[str]:
    with httpx.stream("POST", url, json=body, headers=headers, timeout=30) as answer:
        return list(answer.iter_lines())


@pytest.mark.parametrize("read_lines", [_with_requests, _with_httpx])
@pytest.mark.parametrize("accept", ["text/event-stream", "application/x-ndjson"])
def test_every_frame_is_read(
    service: Server, client: Client, conversation: str, upstream: ScriptedUpstream, read_lines: Any, accept: str
) -> None:
    upstream.script(tokens(*TEXT), done())
    url = f"http://127.0.0.1:{service.port}/api/conversations/{conversation}/messages"
    lines = read_lines(url, {"content": "hello"}, {"Authorization": f"Bearer {client.token}", "Accept": accept})
    found = [line.removeprefix("data: ") for line in lines if line.lstrip().startswith(("data: {", "{"))]
    assert "".join(json.loads(line).get("token", "") for line in found) == TEXT
