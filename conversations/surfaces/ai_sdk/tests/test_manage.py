"""PATCH and DELETE /api/chat/{chat_id}, and how the primary surface names a chat."""

from typing import Any

import pytest

from conversations.surfaces.ai_sdk.tests.calls import ask, chat_messages, events, question, submit, texts
from tests.support.client import Client
from tests.support.steps import endless
from tests.support.upstream import ScriptedUpstream


def test_a_chat_is_listed_with_the_name_that_its_client_chose(client: Client, conversation: str) -> None:
    stream = submit(client, question("hello"))
    events(stream)
    listed = {item["id"]: item["name"] for item in client.get("/api/conversations")["items"]}
    (chat_id,) = [found for found, name in listed.items() if name == "kitchen"]
    assert listed == {chat_id: "kitchen", conversation: None}
    assert stream.headers["Content-Location"] == f"/api/conversations/{chat_id}"
    assert client.request("GET", "/api/chat/kitchen").headers["Content-Location"] == f"/api/conversations/{chat_id}"
    assert client.get(f"/api/conversations/{chat_id}")["name"] == "kitchen"


def test_a_chat_is_renamed(client: Client) -> None:
    ask(client, question("hello"))
    renamed = client.request("PATCH", "/api/chat/kitchen", {"title": "Tea"})
    assert (renamed.status, renamed.json) == (200, {"id": "kitchen", "title": "Tea"})
    ask(client, question("again", "q2"))
    assert client.get("/api/chat/kitchen")["title"] == "Tea"


@pytest.mark.parametrize("body", [{}, {"title": ""}, {"title": "x" * 501}, {"title": 1}, []])
def test_a_title_that_is_none_changes_nothing(client: Client, body: Any) -> None:
    ask(client, question("hello"))
    refused = client.request("PATCH", "/api/chat/kitchen", body)
    assert (refused.status, refused.json["code"]) == (400, "invalid")
    assert client.get("/api/chat/kitchen")["title"] == "hello"


def test_a_deleted_chat_is_gone_and_its_name_is_free(client: Client, upstream: ScriptedUpstream) -> None:
    upstream.script(endless("on "))
    submit(client, question("go on"))
    generation = upstream.wait_call()
    assert client.request("DELETE", "/api/chat/kitchen").status == 204
    generation.wait_client_left()
    assert client.request("GET", "/api/chat/kitchen").status == 404
    assert client.request("DELETE", "/api/chat/kitchen").status == 404
    assert client.request("PATCH", "/api/chat/kitchen", {"title": "Tea"}).status == 404
    upstream.reset()
    ask(client, question("anew", "q9"))
    assert texts(chat_messages(client)) == [("user", "anew"), ("assistant", "anew")]
