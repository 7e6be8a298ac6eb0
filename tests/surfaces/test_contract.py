"""The contract surface: exact to the field, nothing more, nothing null."""

import re
import uuid
from datetime import datetime
from urllib.parse import urljoin

import django.test
import pytest
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder

from chatapi import readiness
from tests.support.client import Client
from tests.support.steps import done, respond, tokens
from tests.support.upstream import ScriptedUpstream

CONVERSATION = {"id", "user_id", "title", "model_tag", "created_at", "updated_at"}
MESSAGE = {"id", "conversation_id", "role", "content", "token_count", "model_tag", "inference_time_ms", "created_at"}


def create(client: Client, title: str = "A title", model_tag: str = "tiny") -> str:
    answer = client.request("POST", "/conversations", {"title": title, "model_tag": model_tag})
    assert answer.status == 201, answer
    return str(answer.json["id"])


def read_pages(client: Client, path: str) -> list[list[dict]]:
    """Follow the Link headers from the first page to the last."""
    pages = []
    while path:
        answer = client.request("GET", path)
        assert answer.status == 200, answer
        pages.append(answer.json)
        link = re.fullmatch(r'<([^>]+)>; rel="next"', answer.headers.get("Link", ""))
        path = urljoin(path, link[1]) if link else ""
    return pages


def test_health_needs_no_token(anonymous: Client) -> None:
    answer = anonymous.request("GET", "/health")
    assert (answer.status, answer.json) == (200, {"status": "ok", "ready": True})


@pytest.mark.django_db
def test_health_is_503_where_the_database_is_not_migrated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "_is_migrated", False)
    MigrationRecorder(connection).migration_qs.filter(app="conversations").delete()
    answer = django.test.Client().get("/health")
    assert (answer.status_code, answer.json()) == (503, {"status": "unavailable", "ready": False})
    assert django.test.Client().get("/api/health").status_code == 200


def test_a_conversation_has_exactly_the_contract_s_fields(client: Client) -> None:
    conversation = create(client, "A title", "tiny")
    found = client.get(f"/conversations/{conversation}")
    assert set(found) == CONVERSATION
    assert None not in found.values()
    assert (found["title"], found["model_tag"], found["user_id"]) == ("A title", "tiny", client.token[5:])
    assert datetime.fromisoformat(found["created_at"]).tzinfo
    assert [found] == client.get("/conversations")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"title": "x"},
        {"model_tag": "x"},
        {"title": None, "model_tag": "x"},
        {"title": "x", "model_tag": 7},
        {"title": "x", "model_tag": "y", "is_favorited": True},
        [],
    ],
)
def test_a_conversation_needs_title_and_model_and_nothing_else(client: Client, body: object) -> None:
    answer = client.request("POST", "/conversations", body)
    assert (answer.status, answer.json["code"]) == (400, "invalid")
    assert client.get("/conversations") == []


def test_title_and_model_are_changed_one_by_one(client: Client) -> None:
    conversation = create(client)
    assert client.request("PATCH", f"/conversations/{conversation}", {"title": "Other"}).json["title"] == "Other"
    changed = client.request("PATCH", f"/conversations/{conversation}", {"model_tag": "large"})
    assert set(changed.json) == CONVERSATION
    assert (changed.json["title"], changed.json["model_tag"]) == ("Other", "large")
    assert client.request("PATCH", f"/conversations/{conversation}", {"user_id": str(uuid.uuid4())}).status == 400


def test_conversations_come_in_pages_that_link_to_the_next(client: Client) -> None:
    created = [create(client, f"number {number}") for number in range(5)]
    pages = read_pages(client, "/conversations?limit=2")
    assert [len(page) for page in pages] == [2, 2, 1]
    assert [item["id"] for page in pages for item in page] == created[::-1]


def test_a_cursor_of_ours_counts_in_its_own_list_only(client: Client) -> None:
    for number in range(2):
        create(client, f"number {number}")
    cursor = client.get("/api/conversations?limit=1")["next"]
    assert client.request("GET", f"/conversations?cursor={cursor}").status == 400


def test_messages_come_oldest_first_and_in_pages(client: Client) -> None:
    conversation = create(client)
    for text in ("one", "two"):
        client.ask(conversation, text)
    pages = read_pages(client, f"/conversations/{conversation}/messages?limit=3")
    assert [len(page) for page in pages] == [3, 1]
    messages = [item for page in pages for item in page]
    assert [(item["role"], item["content"]) for item in messages] == [
        ("user", "one"),
        ("assistant", "one"),
        ("user", "two"),
        ("assistant", "two"),
    ]
    for message in messages:
        assert set(message) == MESSAGE
        assert None not in message.values()
        assert message["token_count"] >= 0
        assert message["inference_time_ms"] >= 0
    assert messages == client.get(f"/conversations/{conversation}/messages")


def test_a_message_is_answered_by_a_stream(client: Client, upstream: ScriptedUpstream) -> None:
    upstream.script(tokens("hello", " there"), done())
    conversation = create(client)
    # What a client accepts changes nothing: the contract knows one kind of stream.
    stream = client.open(
        "POST",
        f"/conversations/{conversation}/messages",
        {"message": {"content": "hi", "role": "user", "id": str(uuid.uuid4())}},
        {"Accept": "application/json, text/plain, */*"},
    )
    assert stream.headers["Content-Type"].split(";")[0] == "text/event-stream"
    assert stream.finish()["status"] == "complete"
    assert stream.text == "hello there"


def test_a_message_is_answered_by_json_where_stream_is_false(client: Client, upstream: ScriptedUpstream) -> None:
    upstream.script(tokens("hello", " there"), done())
    conversation = create(client)
    body = {"message": {"content": "hi"}, "stream": False}
    answer = client.request("POST", f"/conversations/{conversation}/messages", body)
    assert (answer.status, set(answer.json)) == (200, MESSAGE)
    assert (answer.json["role"], answer.json["content"], answer.json["token_count"]) == ("assistant", "hello there", 2)
    assert answer.json == client.get(f"/conversations/{conversation}/messages")[-1]


def test_a_failure_is_an_error_where_stream_is_false(client: Client, upstream: ScriptedUpstream) -> None:
    conversation = create(client)
    body = {"message": {"content": "hi"}, "stream": False}
    upstream.script(tokens("half"))
    failed = client.request("POST", f"/conversations/{conversation}/messages", body)
    assert (failed.status, failed.json["code"]) == (502, "upstream_error")
    upstream.script(respond("503 Service Unavailable"))
    refused = client.request("POST", f"/conversations/{conversation}/messages", body)
    assert (refused.status, refused.json["code"]) == (503, "upstream_unavailable")


def test_a_repeated_send_is_one_turn(client: Client) -> None:
    conversation = create(client)
    body, key = {"message": {"content": "once"}, "stream": False}, {"Idempotency-Key": "k-1"}
    first, again = (client.request("POST", f"/conversations/{conversation}/messages", body, key) for _ in range(2))
    assert first.json == again.json
    assert len(client.get(f"/conversations/{conversation}/messages")) == 2


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"message": "hi"},
        {"message": {}},
        {"message": {"content": ""}},
        {"message": {"content": "x" * 8001}},
        {"message": {"content": "hi", "status": "complete"}},
        {"message": {"content": "hi"}, "stream": "false"},
        {"message": {"content": "hi"}, "temperature": 1},
    ],
)
def test_a_malformed_message_is_refused(client: Client, body: dict) -> None:
    conversation = create(client)
    answer = client.request("POST", f"/conversations/{conversation}/messages", body)
    assert (answer.status, answer.json["code"]) == (400, "invalid")
    assert client.get(f"/conversations/{conversation}/messages") == []


def test_ignored_fields_may_be_nested_deeply(client: Client) -> None:
    nested: list = []
    for _ in range(900):
        nested = [nested]
    body = {"message": {"content": "hi", "token_count": nested}, "stream": False}
    assert client.request("POST", f"/conversations/{create(client)}/messages", body).status == 200


def test_a_conversation_of_another_user_does_not_exist(client: Client, stranger: Client) -> None:
    conversation = create(client)
    assert stranger.get("/conversations") == []
    for wrong in (conversation, str(uuid.uuid4()), "not-an-id"):
        assert stranger.request("GET", f"/conversations/{wrong}").status == 404
        assert stranger.request("PATCH", f"/conversations/{wrong}", {"title": "mine"}).status == 404
        assert stranger.request("GET", f"/conversations/{wrong}/messages").status == 404
        sent = stranger.request("POST", f"/conversations/{wrong}/messages", {"message": {"content": "hi"}, "stream": False})
        assert sent.status == 404
    assert client.get(f"/conversations/{conversation}")["title"] == "A title"


def test_what_the_contract_does_not_name_is_not_allowed(client: Client) -> None:
    conversation = create(client)
    assert client.request("DELETE", f"/conversations/{conversation}").status == 405
    assert client.request("PUT", f"/conversations/{conversation}", {"title": "x"}).status == 405
