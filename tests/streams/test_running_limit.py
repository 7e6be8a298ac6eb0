"""A worker that makes as many replies as it may refuses further ones, and saves nothing of them."""

from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from tests.conftest import StartServer
from tests.support.client import Client, Stream
from tests.support.exchange import Gate
from tests.support.parallel import at_once
from tests.support.server import Server
from tests.support.steps import done, hold, tokens
from tests.support.upstream import ScriptedUpstream

LIMIT = 3


@pytest.fixture(scope="module")
def service(new_server: StartServer) -> Iterator[Server]:
    with new_server(MAX_RUNNING_REPLIES=str(LIMIT)) as server:
        yield server


@pytest.fixture
def gate(upstream: ScriptedUpstream) -> Gate:
    """Holds the replies to "hold"."""
    gate = upstream.gate()
    upstream.script(tokens("held"), hold(gate), done(), when="hold")
    return gate


def test_a_burst_begins_as_many_as_fit(client: Client, gate: Gate) -> None:
    conversations = [client.create_conversation() for _ in range(12)]
    streams = at_once(lambda number: client.send(conversations[number], "hold"), 12)
    assert Counter(stream.status for stream in streams) == {200: LIMIT, 503: 12 - LIMIT}
    for conversation, stream in zip(conversations, streams, strict=True):
        if stream.status == 503:
            assert_refused(stream)
            assert client.messages(conversation) == []
    gate.open()
    assert {stream.finish()["status"] for stream in streams if stream.status == 200} == {"complete"}


@pytest.mark.parametrize(
    "ask_again",
    [
        lambda client, conversation, question: client.send(conversation, "more"),
        lambda client, conversation, question: client.regenerate(conversation),
        lambda client, conversation, question: client.open(
            "PUT", f"/api/conversations/{conversation}/messages/{question}", {"content": "changed"}
        ),
    ],
    ids=["send", "regenerate", "edit"],
)
def test_no_verb_begins_another_reply_until_one_has_ended(
    client: Client, conversation: str, gate: Gate, ask_again: Callable[[Client, str, str], Stream]
) -> None:
    client.ask(conversation, "first")
    before = client.messages(conversation)
    held = [client.send(client.create_conversation(), "hold") for _ in range(LIMIT)]
    refused = ask_again(client, conversation, before[0]["id"])
    assert_refused(refused)
    assert client.messages(conversation) == before
    gate.open()
    assert {stream.finish()["status"] for stream in held} == {"complete"}
    assert ask_again(client, conversation, before[0]["id"]).finish()["status"] == "complete"


def assert_refused(stream: Stream) -> None:
    refusal = stream.json
    assert (stream.status, refusal["code"]) == (503, "overloaded")
    assert int(stream.headers["Retry-After"]) > 0
