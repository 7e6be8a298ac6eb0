"""What real clients send a little beside the standards, and what must not be ignored silently."""

import http.client
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.client import Answer, Client
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


CHOICES = [
    ("tools", [{"type": "function"}]),
    ("tool_choice", "required"),
    ("response_format", {"type": "json_object"}),
    ("stop", ["END"]),
    ("top_p", 0),
    ("top_p", 0.1),
    ("n", 2),
    ("n", True),
    ("seed", 0),
    ("seed", 7),
    ("reasoning", {"effort": "high", "summary": None}),
    ("truncation", "disabled"),
    ("presence_penalty", 0.5),
    ("logit_bias", {"50256": -100}),
]
HARMLESS = {
    "tools": [],
    "tool_choice": "auto",
    "response_format": {"type": "text"},
    "stop": None,
    "top_p": 1.0,
    "n": 1,
    "seed": None,
    "reasoning": {"effort": None, "summary": None},
    "truncation": "auto",
    "presence_penalty": 0,
    "verbosity": "medium",
    "min_tokens": 0,
    "thinking": {"type": "disabled"},
    "enable_thinking": False,
    "images": [],
    "chat_template_kwargs": {},
    "background": False,
    "user": "someone",
}


@pytest.fixture(params=["primary", "contract", "session", "long session body", "completion", "openai", "chat completion"])
def send(request: pytest.FixtureRequest, client: Client, conversation: str) -> Callable[..., Answer]:
    """Send a message through a surface, with more fields, and wait for the reply."""
    path, body = {
        "primary": (f"/api/conversations/{conversation}/messages", {"content": "hello", "stream": False}),
        "contract": (f"/conversations/{conversation}/messages", {"message": {"content": "hello"}, "stream": False}),
        "session": ("/api/v1/chat/stream", {"session_id": conversation, "message": "hello"}),
        "long session body": (
            "/api/v1/chat/stream",
            {"session_id": conversation, "message": "hello", "history": ["x" * 300_000]},
        ),
        "completion": (f"/conversation/completion/{conversation}", {"message": "hello"}),
        "openai": ("/v1/responses", {"input": "hello", "conversation": f"conv_{conversation.replace('-', '')}"}),
        "chat completion": ("/v1/chat/completions", {"messages": [{"role": "user", "content": "hello"}]}),
    }[request.param]
    return lambda **fields: client.request("POST", path, {**body, **fields})


@pytest.mark.parametrize(("field", "value"), CHOICES)
def test_what_would_change_the_answer_is_refused(
    client: Client, conversation: str, send: Callable[..., Answer], field: str, value: Any
) -> None:
    refusal = send(**{field: value})
    assert refusal.status == 400
    error = refusal.json.get("error")
    assert (error["param"] if error else next(iter(refusal.json["fields"]))) == field
    assert client.get(f"/api/conversations/{conversation}")["messages"] == []


# Some of what other servers and other surfaces offer.
OFFERED_ELSEWHERE = {
    "verbosity": "low",
    "max_new_tokens": 5,
    "min_tokens": 50,
    "mirostat": 2,
    "guided_json": {"type": "object"},
    "grammar": "root ::= answer",
    "thinking": {"type": "enabled", "budget_tokens": 1024},
    "chat_template_kwargs": {"enable_thinking": True},
    "attachments": [{"url": "https://example.com/a.pdf"}],
    "images": ["aGVsbG8="],
    "parent_id": "0b54ad5e-2f0c-4a7e-9d4e-000000000000",
    "temporary": True,
}


def test_what_is_offered_elsewhere_is_refused_by_name(client: Client, conversation: str, send: Callable[..., Answer]) -> None:
    for field, value in OFFERED_ELSEWHERE.items():
        refusal = send(**{field: value})
        assert refusal.status == 400, field
        error = refusal.json.get("error")
        assert (error["param"] if error else next(iter(refusal.json["fields"]))) == field
    assert client.get(f"/api/conversations/{conversation}")["messages"] == []


@pytest.mark.parametrize("address", ["/api/conversations", "/v1/conversations"])
def test_a_conversation_is_not_created_without_what_it_should_have(client: Client, address: str) -> None:
    for field, value in {
        "system_prompt": "Be brief.",
        "messages": [{"role": "user"}],
        "is_favorited": True,
        "top_p": 0.1,
    }.items():
        refusal = client.request("POST", address, {field: value})
        assert refusal.status == 400, field
        assert field in refusal.content.decode()
    assert client.get("/api/conversations")["items"] == []
    assert client.request("POST", address, {"system_prompt": "", "is_favorited": False, "colour": "blue"}).status < 300


def test_defaults_and_unknown_fields_are_ignored(send: Callable[..., Answer], request: pytest.FixtureRequest) -> None:
    # The contract's schemas are closed.
    assert send(**HARMLESS).status == (400 if "contract" in request.node.callspec.id else 200)


@pytest.mark.parametrize(
    ("address", "body", "field"),
    [
        ("/api/v1/chat/stream", {"session_id": "kitchen", "message": "hello"}, "temperature"),
        ("/v1/responses", {"input": "hello"}, "max_tokens"),
    ],
)
def test_a_choice_that_only_other_surfaces_have_is_refused(
    client: Client, address: str, body: dict[str, Any], field: str
) -> None:
    assert client.request("POST", address, {**body, field: 1}).status == 400
    assert client.request("POST", address, {**body, field: None}).status == 200


@pytest.mark.parametrize("chat", ["_x", "-x", "__LOCALID_abc"])
def test_ids_that_front_ends_make(client: Client, chat: str) -> None:
    message = {"id": "m1", "role": "user", "parts": [{"type": "text", "text": "hello"}]}
    asked = {"id": chat, "messages": [message], "trigger": "submit-message"}
    assert client.request("POST", "/api/chat", asked).status == 200
    assert client.get(f"/api/chat/{chat}")["id"] == chat
