"""Quotas at a real server: every surface refuses a send, and `GET /api/usage` says what is left."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest

from tests.conftest import StartServer
from tests.support.client import Answer, Client
from tests.support.server import Server

Send = Callable[[Client, str, str], Answer]
pytestmark = pytest.mark.one_day


@pytest.fixture(scope="module")
def service(new_server: StartServer) -> Iterator[Server]:
    with new_server(QUOTA_TOKENS_DAY="4", QUOTA_TOKENS_MONTH="1000") as server:
        yield server


def _send(client: Client, conversation: str, _: str) -> Answer:
    return client.request("POST", f"/api/conversations/{conversation}/messages", {"content": "more"})


def _regenerate(client: Client, conversation: str, _: str) -> Answer:
    return client.request("POST", f"/api/conversations/{conversation}/regenerate", {})


def _edit(client: Client, conversation: str, asked: str) -> Answer:
    return client.request("PUT", f"/api/conversations/{conversation}/messages/{asked}", {"content": "changed"})


def _contract(client: Client, conversation: str, _: str) -> Answer:
    return client.request("POST", f"/conversations/{conversation}/messages", {"message": {"content": "more"}})


def _session(client: Client, *_: str) -> Answer:
    return client.request("POST", "/api/v1/chat/stream", {"session_id": "kitchen", "message": "more"})


def _completion(client: Client, conversation: str, _: str) -> Answer:
    return client.request("POST", f"/conversation/completion/{conversation}", {"message": "more"})


def _ai_sdk(client: Client, conversation: str, _: str) -> Answer:
    message = {"id": "m1", "role": "user", "parts": [{"type": "text", "text": "more"}]}
    return client.request("POST", "/api/chat", {"id": conversation, "messages": [message]})


@pytest.mark.parametrize("send", [_send, _regenerate, _edit, _contract, _session, _completion, _ai_sdk])
def test_every_surface_refuses_a_user_without_tokens_left(client: Client, conversation: str, send: Send) -> None:
    client.ask(conversation, "one two three")
    client.ask(conversation, "four five")
    asked = next(
        item["id"] for item in client.get(f"/api/conversations/{conversation}/messages")["items"] if item["role"] == "user"
    )
    before = client.get(f"/api/conversations/{conversation}/messages")
    refused = send(client, conversation, asked)
    assert (refused.status, refused.json["code"]) == (429, "quota_exceeded"), refused.json
    resets_at = datetime.fromisoformat(refused.json["resets_at"])
    assert (resets_at.hour, resets_at.minute, resets_at.second, resets_at.utcoffset()) == (0, 0, 0, timedelta(0))
    seconds = int(refused.headers["Retry-After"])
    assert 1 <= seconds <= 86_400
    assert abs((resets_at - datetime.now(UTC)).total_seconds() - seconds) < 60
    assert client.get(f"/api/conversations/{conversation}/messages") == before
    assert client.get("/api/usage")["quota"]["day"] == {"limit": 4, "used": 5, "resets_at": refused.json["resets_at"]}


def test_the_openai_packages_are_told_not_to_try_again(client: Client, conversation: str) -> None:
    client.ask(conversation, "one two three four")
    refused = client.request("POST", "/v1/responses", {"model": "default", "input": "more"})
    assert (refused.status, refused.headers["X-Should-Retry"]) == (429, "false")
    error = refused.json["error"]
    assert (error["type"], error["code"]) == ("rate_limit_error", "quota_exceeded")
    resets_at = datetime.fromisoformat(client.get("/api/usage")["quota"]["day"]["resets_at"])
    assert f"{resets_at:%Y-%m-%d %H:%M} UTC" in error["message"]


def test_usage_says_what_is_left(client: Client, conversation: str) -> None:
    client.ask(conversation, "one two three")
    quota = client.get("/api/usage?days=1&to=2020-01-01")["quota"]
    assert (quota["day"]["limit"], quota["day"]["used"]) == (4, 3)
    assert (quota["month"]["limit"], quota["month"]["used"]) == (1000, 3)
    assert datetime.fromisoformat(quota["month"]["resets_at"]).day == 1
