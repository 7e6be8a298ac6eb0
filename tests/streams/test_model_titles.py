"""Titles by a model (TITLE_MODEL), with both protocols: after the first reply, and when the user asks for one."""

from collections.abc import Iterator

import pytest

from tests.conftest import StartServer
from tests.support.client import Client
from tests.support.server import Server
from tests.support.steps import done, hold, respond, tokens
from tests.support.upstream import ScriptedUpstream
from tests.support.waiting import wait_until

ASKS = "Write a title"


@pytest.fixture(scope="module", params=["nanochat", "openai"])
def service(new_server: StartServer, request: pytest.FixtureRequest) -> Iterator[Server]:
    with new_server(TITLE_MODEL="small", INFERENCE_PROTOCOL=request.param, DB_POOL_SIZE="2") as server:
        yield server


@pytest.fixture(scope="module")
def plain_service(new_server: StartServer) -> Iterator[Server]:
    with new_server() as server:
        yield server


def title_of(client: Client, conversation: str) -> str:
    return str(client.conversation(conversation)["title"])


def wait_for_title(client: Client, conversation: str, title: str) -> None:
    wait_until(lambda: title_of(client, conversation) == title, f"it is called {title}")


def test_the_model_names_a_conversation_after_its_first_reply(
    client: Client, conversation: str, upstream: ScriptedUpstream
) -> None:
    upstream.script(tokens('Title: "**Green', " tea** in one two three four five six", '"\n\nMore.'), done(), when=ASKS)
    client.ask(conversation, "how do I make green tea")
    updated_at = client.conversation(conversation)["updated_at"]
    wait_for_title(client, conversation, "Green tea in one two three four five")
    (call,) = upstream.generations(ASKS)
    assert "how do I make green tea" in call.messages[-1]["content"]
    if "model" in call.body:
        assert call.body["model"] == "small"
    assert client.conversation(conversation)["updated_at"] == updated_at
    client.ask(conversation, "and black tea")
    client.ask(client.create_conversation(), "something else")
    wait_until(lambda: len(upstream.generations(ASKS)) == 2, "another conversation gets a title")
    assert title_of(client, conversation) == "Green tea in one two three four five"


def test_a_title_of_the_users_stays(client: Client, upstream: ScriptedUpstream) -> None:
    named = client.create_conversation(title="mine")
    client.ask(named, "hello")
    gate = upstream.gate()
    upstream.script(hold(gate), tokens("Late"), done(), when=ASKS)
    renamed = client.create_conversation()
    client.ask(renamed, "hello")
    gate.wait_held()
    client.request("PATCH", f"/api/conversations/{renamed}", {"title": "renamed"})
    gate.open()
    answer = client.request("POST", f"/api/conversations/{renamed}/title")
    assert (answer.status, answer.json["code"]) == (409, "titled_by_user")
    other = client.create_conversation()
    client.ask(other, "hello")
    wait_for_title(client, other, "Late")
    assert (title_of(client, named), title_of(client, renamed)) == ("mine", "renamed")


@pytest.mark.parametrize(
    "answer",
    [(respond("500 Internal Server Error", b"{}"),), (done(),), (tokens("…"), done())],
    ids=["fails", "empty", "no word"],
)
def test_without_a_title_from_the_model_the_first_message_names_it(
    client: Client, conversation: str, upstream: ScriptedUpstream, answer
) -> None:
    upstream.script(*answer, when=ASKS)
    client.ask(conversation, "how do I make green tea")
    wait_until(lambda: upstream.generations(ASKS), "the model is asked")
    other = client.create_conversation()
    upstream.script(tokens("Second"), done(), when=ASKS)
    client.ask(other, "hello")
    wait_for_title(client, other, "Second")
    assert title_of(client, conversation) == "how do I make green tea"


def test_the_user_asks_again(client: Client, conversation: str, upstream: ScriptedUpstream) -> None:
    upstream.script(tokens("First"), done(), when=ASKS)
    nothing = client.request("POST", f"/api/conversations/{conversation}/title")
    assert (nothing.status, nothing.json["code"]) == (404, "not_found")
    client.ask(conversation, "hello")
    wait_for_title(client, conversation, "First")
    upstream.script(tokens("東京の天気について"), done(), when=ASKS)
    answer = client.request("POST", f"/api/conversations/{conversation}/title")
    assert (answer.status, answer.json["title"]) == (200, "東京の天気について")
    upstream.script(respond("503 Service Unavailable", b"{}"), when=ASKS)
    failed = client.request("POST", f"/api/conversations/{conversation}/title")
    assert (failed.status, failed.json["code"]) == (503, "upstream_unavailable")
    assert title_of(client, conversation) == "東京の天気について"


def test_no_connection_is_held_while_the_model_thinks(client: Client, conversation: str, upstream: ScriptedUpstream) -> None:
    """The pool has two connections."""
    gate = upstream.gate()
    upstream.script(hold(gate), tokens("Late"), done(), when=ASKS)
    client.ask(conversation, "hello")
    stream = client.open("GET", f"/api/conversations/{conversation}")
    assert stream.status == 200
    gate.wait_held()
    for _ in range(4):
        assert title_of(client, conversation) == "hello"
    gate.open()
    wait_for_title(client, conversation, "Late")


def test_where_it_is_off_nothing_is_asked(plain_service: Server, client: Client, upstream: ScriptedUpstream) -> None:
    user = client.at(plain_service.port)
    conversation = user.create_conversation()
    user.ask(conversation, "hello")
    answer = user.request("POST", f"/api/conversations/{conversation}/title")
    assert (answer.status, answer.json["code"]) == (501, "not_supported")
    assert upstream.generations(ASKS) == []
