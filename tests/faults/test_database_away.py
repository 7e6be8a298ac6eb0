"""A database that goes away and comes back: replies that run meanwhile are saved, and no request waits for long afterwards."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from devstack.postgres import PostgresServer
from tests.support.client import Client
from tests.support.database import cut_connections
from tests.support.parallel import at_once
from tests.support.server import Server
from tests.support.steps import done, hold, tokens
from tests.support.upstream import ScriptedUpstream

from .conftest import StartNode

pytestmark = pytest.mark.slow
REPLIES = 50


@pytest.fixture(scope="module")
def service(start_node: StartNode) -> Iterator[Server]:
    with start_node(DB_POOL_SIZE="30") as server:
        yield server


@pytest.fixture(scope="module")
def other_node(start_node: StartNode) -> Iterator[Server]:
    with start_node() as server:
        yield server


@pytest.mark.parametrize("away_s", [3.0, pytest.param(20.0, marks=pytest.mark.exhaustive)])
def test_fifty_replies_survive_a_database_that_is_away(
    client: Client, upstream: ScriptedUpstream, postgres: PostgresServer, other_node: Server, away_s: float
) -> None:
    during, after = upstream.gate(), upstream.gate()
    upstream.script(tokens("before"), hold(during), tokens(" during"), done(), when="ends while it is away")
    upstream.script(tokens("before"), hold(during), tokens(" during"), hold(after), tokens(" after"), done(), when="goes on")
    ends = ["before during" if number % 2 else "before during after" for number in range(REPLIES)]

    def begin(number: int):
        conversation = client.create_conversation()
        stream = client.send(conversation, "ends while it is away" if number % 2 else "goes on")
        stream.read_until("before")
        return conversation, stream

    begun = at_once(begin, REPLIES)
    follower = client.at(other_node.port).follow(begun[1][0], begun[1][1].message_id)
    follower.read_until("before")
    postgres.crash()
    during.open()
    for _, stream in begun:
        stream.read_until(" during")
    away(away_s)
    postgres.start()
    after.open()
    assert [stream.finish()["status"] for _, stream in begun] == ["complete"] * REPLIES
    assert [stream.text for _, stream in begun] == ends
    for (conversation, stream), text in zip(begun, ends, strict=True):
        message = client.message(conversation, stream.message_id)
        assert (message["status"], message["content"]) == ("complete", text)
    assert (follower.finish()["status"], follower.text) == ("complete", "before during")


def test_dead_connections_make_no_request_wait_until_it_fails(
    client: Client, postgres: PostgresServer, service: Server
) -> None:
    at_once(lambda _: client.get("/api/conversations"), 60)  # so that the pool holds many
    cut_connections(postgres.url())
    assert client.request("GET", "/api/conversations").status == 200
    assert client.ask(client.create_conversation(), "and go on").text == "and go on"


def test_a_send_waits_for_a_database_that_comes_back_soon(client: Client, postgres: PostgresServer) -> None:
    conversation = client.create_conversation()
    postgres.crash()
    with ThreadPoolExecutor(1) as thread:
        sending = thread.submit(client.send, conversation, "hello again")
        away(1.0)
        postgres.start()
        stream = sending.result()
    assert (stream.finish()["status"], stream.text) == ("complete", "hello again")
    assert len(client.messages(conversation)) == 2


def away(seconds: float) -> None:
    """Let the time pass that the database is away: the length is what is tested."""
    time.sleep(seconds)
