"""A first message that is refused leaves nothing behind, on the surfaces whose first message creates the conversation."""

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from tests.conftest import StartServer
from tests.support.auth import make_token
from tests.support.client import Answer, Client, Stream
from tests.support.server import Server
from tests.support.steps import done, hold, tokens
from tests.support.upstream import ScriptedUpstream

LONGEST = 100
MODEL = "small"


@pytest.fixture(scope="module")
def service(new_server: StartServer) -> Iterator[Server]:
    limits = {"USER_MAX_GENERATIONS": "1", "MAX_RUNNING_REPLIES": "2", "QUOTA_TOKENS_DAY": "4"}
    with new_server(ALLOWED_MODELS=MODEL, MAX_MESSAGE_CHARACTERS=str(LONGEST), **limits) as server:
        yield server


def chat(client: Client, text: str, **fields: Any) -> Answer:
    message = {"id": "q1", "role": "user", "parts": [{"type": "text", "text": text}]}
    return client.request("POST", "/api/chat", {"id": "kitchen", "messages": [message], **fields})


def session(client: Client, text: str, **fields: Any) -> Answer:
    return client.request("POST", "/api/v1/chat/stream", {"session_id": "kitchen", "message": text, **fields})


def respond(client: Client, text: str, **fields: Any) -> Answer:
    return client.request("POST", "/v1/responses", {"input": text, **fields})


def respond_to_history(client: Client, text: str, **fields: Any) -> Answer:
    said = [{"role": "user", "content": "tea?"}, {"role": "assistant", "content": "yes"}, {"role": "user", "content": text}]
    return client.request("POST", "/v1/responses", {"input": said, **fields}, headers={"Idempotency-Key": "k"})


def complete(client: Client, text: str, **fields: Any) -> Answer:
    body = {"model": MODEL, "messages": [{"role": "user", "content": text}], **fields}
    return client.request("POST", "/v1/chat/completions", body)


Send = Callable[..., Answer]
SENDS: list[Send] = [chat, session, respond, respond_to_history, complete]
OTHER_MODELS = [(chat, "model"), (respond, "model"), (respond_to_history, "model"), (complete, "model")]


def rows(database: psycopg.Connection) -> tuple[int, int]:
    found = database.execute("SELECT (SELECT count(*) FROM conversations), (SELECT count(*) FROM messages)").fetchone()
    assert found
    return int(found[0]), int(found[1])


@pytest.fixture
def run_reply(client: Client, service: Server, upstream: ScriptedUpstream) -> Iterator[Callable[[Client], Stream]]:
    """Begin a reply that runs until the test ends."""
    gate, streams, users = upstream.gate(), list[Stream](), list[Client]()

    def run(user: Client) -> Stream:
        users.append(user)
        upstream.script(tokens("so"), hold(gate), done(), when="runs")
        streams.append(user.send(user.create_conversation(), "runs"))
        streams[-1].read_until("so")
        return streams[-1]

    yield run
    gate.open()
    for stream in streams:
        stream.finish()
    for user in users:
        user.close()


@pytest.mark.parametrize("send", SENDS)
def test_without_text(client: Client, database: psycopg.Connection, send: Send) -> None:
    before = rows(database)
    assert send(client, "").status == 400
    assert send(client, "\u200b \n").status == 400
    assert rows(database) == before


@pytest.mark.parametrize("send", SENDS)
def test_too_long(client: Client, database: psycopg.Connection, send: Send) -> None:
    before = rows(database)
    assert send(client, "x" * (LONGEST + 1)).status in (400, 413)
    assert rows(database) == before


@pytest.mark.parametrize(("send", "field"), OTHER_MODELS)
def test_with_a_model_that_may_not_be_chosen(client: Client, database: psycopg.Connection, send: Send, field: str) -> None:
    before = rows(database)
    assert send(client, "hello", **{field: "large"}).status in (400, 403, 404)
    assert rows(database) == before


def test_with_an_unknown_assistant(client: Client, database: psycopg.Connection) -> None:
    before = rows(database)
    assert session(client, "hello", assistant_id="01920000-0000-7000-8000-000000000000").status in (400, 404)
    assert rows(database) == before


@pytest.mark.parametrize("send", SENDS)
def test_while_the_user_has_as_many_replies_as_allowed(
    client: Client, database: psycopg.Connection, run_reply: Callable[[Client], Stream], send: Send
) -> None:
    run_reply(client)
    before = rows(database)
    for _ in range(2):
        refused = send(client, "hello")
        assert (refused.status, "Retry-After" in refused.headers) == (429, True)
    assert rows(database) == before
    assert len(client.get("/api/conversations")["items"]) == 1


@pytest.mark.parametrize("send", SENDS)
def test_while_the_worker_has_as_many_replies_as_allowed(
    client: Client, database: psycopg.Connection, run_reply: Callable[[Client], Stream], send: Send
) -> None:
    for _ in range(2):
        run_reply(Client(client.port, make_token()))
    before = rows(database)
    assert send(client, "hello").status == 503
    assert rows(database) == before
    assert client.get("/api/conversations")["items"] == []


@pytest.mark.one_day
@pytest.mark.parametrize("send", SENDS)
def test_with_a_quota_that_is_used_up(client: Client, database: psycopg.Connection, send: Send) -> None:
    client.ask(client.create_conversation(), "one two three four five six")
    before = rows(database)
    assert send(client, "hello").status == 429
    assert rows(database) == before
    assert len(client.get("/api/conversations")["items"]) == 1
