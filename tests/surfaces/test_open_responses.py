"""The cases of the Open Responses compliance suite (openresponses/openresponses, `bin/compliance-test.ts`), written anew.

One of its six cases needs function calls, which only an inference service of OpenAI's protocol takes, and one needs images,
which the service refuses. The refusals are tested too.
"""

import json
from typing import Any

import pytest

from tests.clients.tool_cases import WEATHER_FLAT, calling
from tests.conftest import StartServer
from tests.support.client import Client
from tests.support.upstream import ScriptedUpstream

NUMBER = (int, float)
NULL = type(None)
# The fields that its schema of a response requires, and their types.
FIELDS: dict[str, Any] = {
    "id": str,
    "object": str,
    "created_at": int,
    "completed_at": (int, NULL),
    "status": str,
    "incomplete_details": (dict, NULL),
    "model": str,
    "previous_response_id": (str, NULL),
    "instructions": (str, NULL),
    "output": list,
    "error": (dict, NULL),
    "tools": list,
    "tool_choice": str,
    "truncation": str,
    "parallel_tool_calls": bool,
    "text": dict,
    "top_p": NUMBER,
    "presence_penalty": NUMBER,
    "frequency_penalty": NUMBER,
    "top_logprobs": int,
    "temperature": NUMBER,
    "reasoning": (dict, NULL),
    "usage": (dict, NULL),
    "max_output_tokens": (int, NULL),
    "max_tool_calls": (int, NULL),
    "store": bool,
    "background": bool,
    "service_tier": str,
    "metadata": dict,
    "safety_identifier": (str, NULL),
    "prompt_cache_key": (str, NULL),
}


def message(role: str, content: Any) -> dict[str, Any]:
    return {"type": "message", "role": role, "content": content}


CASES = {
    "basic-response": [message("user", "Say hello in exactly 3 words.")],
    "system-prompt": [message("system", "You are a pirate."), message("user", "Say hello.")],
    "multi-turn": [
        message("user", "My name is Alice."),
        message("assistant", "Hello Alice! Nice to meet you."),
        message("user", "What is my name?"),
    ],
}
TOOL_CASE = [message("user", "What's the weather like in San Francisco?")]


def require_whole(response: dict[str, Any]) -> None:
    wrong = {name: response.get(name, "missing") for name, kind in FIELDS.items() if not isinstance(response.get(name), kind)}
    assert wrong == {}
    assert set(FIELDS) <= set(response)
    assert response["status"] == "completed"
    assert response["output"]
    for item in response["output"]:
        assert {"id", "type", "role", "status", "content"} <= set(item)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("stream", [False, True])
def test_a_response_has_every_field(case: str, stream: bool, client: Client) -> None:
    answer = client.request("POST", "/v1/responses", {"model": "tiny", "input": CASES[case], "stream": stream})
    assert answer.status == 200
    if not stream:
        require_whole(answer.json)
        return
    assert answer.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    blocks = answer.content.decode().removeprefix(": stream\n").split("\n\n")
    assert blocks.pop() == ""
    events = []
    for block in blocks:
        name, data = block.split("\n")
        events.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {events[-1]['type']}"
    assert events[-1]["type"] == "response.completed"
    require_whole(events[-1]["response"])


@pytest.mark.parametrize("stream", [False, True])
def test_a_call_of_a_tool(stream: bool, new_server: StartServer, client: Client, upstream: ScriptedUpstream) -> None:
    with new_server(INFERENCE_PROTOCOL="openai") as server:
        upstream.script(*calling("San Francisco"))
        body = {"input": TOOL_CASE, "tools": [WEATHER_FLAT], "stream": stream}
        answer = client.at(server.port).request("POST", "/v1/responses", body)
    found = answer.json if not stream else json.loads(answer.content.split(b"data: ")[-1].split(b"\n")[0])["response"]
    require_whole({**found, "output": [{**item, "role": "", "content": []} for item in found["output"]]})
    [call] = found["output"]
    assert (call["type"], call["name"], call["status"]) == ("function_call", "weather", "completed")
    assert json.loads(call["arguments"]) == {"city": "San Francisco"}


@pytest.mark.parametrize(
    ("param", "body"),
    [
        ("tools", {"input": "What's the weather?", "tools": [{"type": "function", "name": "get_weather", "parameters": {}}]}),
        ("input", {"input": [message("user", [{"type": "input_image", "image_url": "https://example.test/a.png"}])]}),
    ],
)
def test_what_the_service_does_not_offer_is_refused(param: str, body: dict[str, Any], client: Client) -> None:
    answer = client.request("POST", "/v1/responses", body)
    assert (answer.status, answer.json["error"]["param"]) == (400, param)
