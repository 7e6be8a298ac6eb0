"""POST /api/conversations/{id}/messages/{mid}/ticket, and the stream with ?ticket="""

import uuid
from typing import Any
from uuid import UUID

import pytest
from django.http import HttpResponse
from django.test import Client as DjangoClient

from chatapi.tests.clients import UserClient
from conversations.surfaces.api import tickets
from conversations.surfaces.api.views import messages
from conversations.tests.factories import make_conversation, make_message, make_reply
from tests.support.client import Answer, Client
from tests.support.raw import RawConnection
from tests.support.server import Server
from tests.support.waiting import wait_until


@pytest.fixture
def reply(client: Client, conversation: str) -> str:
    return f"/api/conversations/{conversation}/messages/{client.ask(conversation, 'hello there').message_id}"


def get_ticket(client: Client, reply: str) -> str:
    answer = client.request("POST", f"{reply}/ticket")
    assert answer.status == 200, answer
    assert answer.json["expires_in"] == 60
    return str(answer.json["ticket"])


def follow(service: Server, reply: str, ticket: str, headers: dict[str, str] | None = None, query: str = "") -> Answer:
    """Follow a reply as an EventSource does: without a token."""
    return Client(service.port, None).request("GET", f"{reply}/stream?ticket={ticket}{query}", headers=headers)


def assert_refused(answer: Answer) -> None:
    assert (answer.status, answer.json["code"]) == (401, "invalid_token")
    assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_a_ticket_opens_the_stream_without_a_token(service: Server, client: Client, reply: str) -> None:
    ticket = get_ticket(client, reply)
    answer = follow(service, reply, ticket)
    assert (answer.status, answer.headers["Content-Type"]) == (200, "text/event-stream; charset=utf-8")
    assert b"hello there" in answer.content
    assert answer.content.rstrip().rpartition(b"data: ")[2].startswith(b'{"done":true')
    # It is used again when the browser reconnects, then with the last event, or by a new EventSource with `after`.
    assert b'"hello' not in follow(service, reply, ticket, {"Last-Event-ID": "5"}).content
    assert b'"hello' not in follow(service, reply, ticket, query="&after=5").content
    assert follow(service, reply, ticket, {"Last-Event-ID": "done"}).status == 204


def test_a_ticket_opens_nothing_else(service: Server, client: Client, conversation: str, reply: str) -> None:
    ticket = get_ticket(client, reply)
    other = f"/api/conversations/{conversation}/messages/{client.ask(conversation, 'another').message_id}"
    assert_refused(follow(service, other, ticket))
    assert_refused(follow(service, reply[:-36] + "not-an-id", ticket))
    elsewhere = reply.replace(conversation, client.create_conversation())
    assert follow(service, elsewhere, ticket).status == 404
    anonymous = Client(service.port, None)
    for method, path in [("GET", reply), ("POST", f"{reply}/ticket"), ("GET", f"/api/conversations/{conversation}")]:
        answer = anonymous.request(method, f"{path}?ticket={ticket}")
        assert (answer.status, answer.json["code"]) == (401, "not_authenticated")


def test_a_changed_ticket_is_refused(service: Server, client: Client, reply: str) -> None:
    ticket = get_ticket(client, reply)
    payload, stamp, signature = ticket.split(":")
    for changed in (
        "",
        "x",
        f"{payload[:-1]}{'A' if payload[-1] != 'A' else 'B'}:{stamp}:{signature}",
        f"{payload}:{stamp[:-1]}{'A' if stamp[-1] != 'A' else 'B'}:{signature}",
        f"{payload}:{stamp}:{signature[:-2]}",
        f"{payload}:{stamp}",
        "%00" * 20,
        "a" * 2000,
    ):
        assert_refused(follow(service, reply, changed))


def test_a_ticket_of_a_deleted_conversation_finds_nothing(
    service: Server, client: Client, conversation: str, reply: str
) -> None:
    ticket = get_ticket(client, reply)
    assert client.request("DELETE", f"/api/conversations/{conversation}").status == 204
    assert follow(service, reply, ticket).status == 404


def test_only_the_owner_of_a_reply_gets_a_ticket(client: Client, other_client: Client, conversation: str, reply: str) -> None:
    assert other_client.request("POST", f"{reply}/ticket").status == 404
    question = client.messages(conversation)[0]["id"]
    for message_id in (question, str(uuid.uuid4()), "not-an-id"):
        answer = client.request("POST", f"/api/conversations/{conversation}/messages/{message_id}/ticket")
        assert (answer.status, answer.json["code"]) == (404, "not_found")


@pytest.mark.django_db
@pytest.mark.parametrize(("age_s", "status"), [(59, 404), (61, 401)])
def test_a_ticket_is_valid_for_a_minute(monkeypatch: pytest.MonkeyPatch, age_s: int, status: int) -> None:
    """The reply does not exist, so an accepted ticket finds nothing."""
    reply_id = uuid.uuid4()
    with monkeypatch.context() as patch:
        patch.setattr("django.core.signing.time.time", lambda: 1_000_000)
        ticket = tickets.issue_ticket(uuid.uuid4(), reply_id)
        patch.setattr("django.core.signing.time.time", lambda: 1_000_000 + age_s)
        path = f"/api/conversations/{uuid.uuid4()}/messages/{reply_id}/stream"
        assert DjangoClient().get(path, {"ticket": ticket}).status_code == status


def test_no_ticket_is_in_the_log(service: Server, client: Client, reply: str) -> None:
    ticket = get_ticket(client, reply)
    follow(service, reply, ticket)
    # The line of a request that the server can't read.
    with RawConnection(service.port) as connection:
        connection.send(f"GET {reply}/stream?ticket={ticket}\r\n\r\n".encode())
        assert connection.status() == 400
    wait_until(lambda: '"status":400' in service.log, "the refusal is in the log")
    assert ticket[:40] not in service.log


def test_a_ticket_has_few_uses(service: Server, client: Client, reply: str) -> None:
    ticket = get_ticket(client, reply)
    statuses = [follow(service, reply, ticket).status for _ in range(11)]
    assert statuses == [200] * 10 + [429]
    refused = follow(service, reply, ticket)
    assert (refused.status, refused.json["code"]) == (429, "throttled")
    assert int(refused.headers["Retry-After"]) > 0
    # The user's own streams are counted apart.
    assert client.request("GET", f"{reply}/stream").status == 200


def test_streams_of_a_ticket_take_no_place_of_the_user(
    user: UserClient, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.USER_MAX_STREAMS = 1
    owners: list[UUID] = []
    monkeypatch.setattr(messages, "stream_reply", lambda *_, owner_id, **__: owners.append(owner_id) or HttpResponse())
    reply = make_reply(make_message(make_conversation(user.user_id)))
    address = f"/api/conversations/{reply.conversation_id}/messages/{reply.id}"
    ticket = user.post(f"{address}/ticket").json()["ticket"]
    DjangoClient().get(f"{address}/stream?ticket={ticket}")
    user.get(f"{address}/stream")
    assert owners[1] == user.user_id
    assert owners[0] != user.user_id
