"""PgBouncer in transaction mode between the service and a database that goes away."""

from collections.abc import Iterator

import pytest

from devstack.postgres import PostgresServer
from tests.support.client import Client
from tests.support.pgbouncer import PROGRAM, pgbouncer
from tests.support.server import Server
from tests.support.steps import done, hold, tokens
from tests.support.upstream import ScriptedUpstream
from tests.support.waiting import wait_until

from .conftest import StartNode
from .test_read_only import readiness

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not PROGRAM, reason="pgbouncer is not installed")]


@pytest.fixture(scope="module")
def service(start_node: StartNode, postgres: PostgresServer) -> Iterator[Server]:
    with pgbouncer(postgres.url()) as url, start_node(database_url=url) as server:
        yield server


def test_a_reply_survives_a_database_that_is_away_behind_pgbouncer(
    client: Client, upstream: ScriptedUpstream, postgres: PostgresServer
) -> None:
    during = upstream.gate()
    upstream.script(tokens("before"), hold(during), tokens(" after"), done(), when="a question")
    conversation = client.create_conversation()
    stream = client.send(conversation, "a question")
    stream.read_until("before")
    postgres.crash()
    wait_until(lambda: readiness(client) == "unreachable", "the server says so")
    refused = client.request("POST", "/api/conversations", {})
    assert (refused.status, refused.json["code"]) == (503, "database_unavailable")
    during.open()
    stream.read_until(" after")
    postgres.start()
    assert (stream.finish()["status"], stream.text) == ("complete", "before after")
    assert client.message(conversation, stream.message_id)["content"] == "before after"
    wait_until(lambda: readiness(client) == "ok", "the server is ready again")
    assert client.ask(client.create_conversation(), "and go on").text == "and go on"
