"""What real clients send a little beside the standards, and what must not be ignored silently."""

import http.client
from typing import Any

import pytest

from tests.support.client import Client
from tests.support.server import Server


def test_a_query_may_be_unescaped_utf_8(service: Server, client: Client) -> None:
    client.request("POST", "/api/conversations", {"title": "Schuhgröße 42"})
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=30)
    # The package itself sends ASCII only.
    connection._encode_request = lambda line: line.encode()  # type: ignore[attr-defined]
    connection._validate_path = lambda path: None  # type: ignore[attr-defined]
    connection.request("GET", "/api/conversations?q=größe", headers={"Authorization": f"Bearer {client.token}"})
    answer = connection.getresponse()
    assert answer.status == 200
    assert "Schuhgröße 42" in answer.read().decode()
    connection.close()


def test_an_empty_time_zone_is_the_default(client: Client) -> None:
    assert client.request("GET", "/api/usage?tz=").status == 200


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("tools", [{"type": "function"}]),
        ("tool_choice", "required"),
        ("response_format", {"type": "json_object"}),
        ("stop", ["END"]),
        ("top_p", 0),
        ("top_p", 0.1),
    ],
)
def test_what_would_change_the_answer_is_refused(client: Client, conversation: str, field: str, value: Any) -> None:
    answer = client.request("POST", f"/api/conversations/{conversation}/messages", {"content": "hello", field: value})
    assert (answer.status, list(answer.json["fields"])) == (400, [field])
    refusal = client.request("POST", "/v1/responses", {"input": "hello", field: value})
    assert (refusal.status, refusal.json["error"]["param"]) == (400, field)
    assert client.get(f"/api/conversations/{conversation}")["messages"] == []


def test_defaults_and_unknown_fields_are_ignored(client: Client, conversation: str) -> None:
    harmless = {"tools": [], "tool_choice": "auto", "stop": None, "top_p": 1.0, "user": "someone"}
    asked = {"content": "hello", "stream": False, **harmless}
    assert client.request("POST", f"/api/conversations/{conversation}/messages", asked).status == 200
    assert client.request("POST", "/v1/responses", {"input": "hello", **harmless}).status == 200


def test_archiving_is_refused(client: Client, conversation: str) -> None:
    answer = client.request("PATCH", f"/api/conversations/{conversation}", {"is_archived": True})
    assert (answer.status, list(answer.json["fields"])) == (400, ["is_archived"])


@pytest.mark.parametrize("chat", ["_x", "-x", "__LOCALID_abc"])
def test_ids_that_front_ends_make(client: Client, chat: str) -> None:
    message = {"id": "m1", "role": "user", "parts": [{"type": "text", "text": "hello"}]}
    asked = {"id": chat, "messages": [message], "trigger": "submit-message"}
    assert client.request("POST", "/api/chat", asked).status == 200
    assert client.get(f"/api/chat/{chat}")["id"] == chat
