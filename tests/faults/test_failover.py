"""A primary that dies while a standby takes over: `DATABASE_URL` names both, and the service goes on at the new primary."""

from collections.abc import Iterator
from urllib.parse import quote

import pytest

from devstack.postgres import PostgresServer, temporary_postgres
from tests.support.client import Client
from tests.support.database import fill
from tests.support.parallel import at_once
from tests.support.server import Server
from tests.support.steps import done, hold, tokens
from tests.support.upstream import ScriptedUpstream
from tests.support.waiting import wait_until

from .conftest import StartNode
from .test_read_only import readiness

pytestmark = pytest.mark.slow
REPLIES = 10


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    with temporary_postgres() as server:
        yield server


@pytest.fixture(scope="module")
def standby(postgres: PostgresServer) -> Iterator[PostgresServer]:
    """A standby that has every row before its transaction counts as committed."""
    fill(postgres)
    with temporary_postgres(copy_of=postgres) as server:
        with postgres.connect() as connection:
            connection.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
            connection.execute("SELECT pg_reload_conf()")
        yield server


@pytest.fixture(scope="module")
def service(start_node: StartNode, postgres: PostgresServer, standby: PostgresServer) -> Iterator[Server]:
    """A server that finds the standby before the primary."""
    hosts = ",".join(quote(server.host) for server in (standby, postgres))
    with start_node(database_url=f"postgresql://postgres@/postgres?host={hosts}") as server:
        yield server


def test_replies_go_on_at_the_standby_that_is_promoted(
    client: Client, upstream: ScriptedUpstream, postgres: PostgresServer, standby: PostgresServer, service: Server
) -> None:
    during, after = upstream.gate(), upstream.gate()
    upstream.script(tokens("before"), hold(during), tokens(" during"), done(), when="ends meanwhile")
    upstream.script(tokens("before"), hold(during), tokens(" during"), hold(after), tokens(" after"), done(), when="goes on")
    ends = ["before during" if number % 2 else "before during after" for number in range(REPLIES)]
    workers = service.workers()

    def begin(number: int):
        stream = client.send(client.create_conversation(), "ends meanwhile" if number % 2 else "goes on")
        stream.read_until("before")
        return stream

    begun = at_once(begin, REPLIES)
    postgres.crash()
    during.open()
    for stream in begun:
        stream.read_until(" during")
    # Only the standby is left. It can be read, but it does not count.
    wait_until(lambda: readiness(client) == "unreachable", "the server says so")
    refused = client.request("POST", "/api/conversations", {})
    assert (refused.status, refused.json["code"]) == (503, "database_unavailable")
    standby.promote()
    after.open()
    assert [stream.finish()["status"] for stream in begun] == ["complete"] * REPLIES
    assert [stream.text for stream in begun] == ends
    for stream, text in zip(begun, ends, strict=True):
        message = client.get(stream.headers["Content-Location"])
        assert (message["status"], message["content"]) == ("complete", text)
    wait_until(lambda: readiness(client) == "ok", "the server is ready again")
    assert client.ask(client.create_conversation(), "and go on").text == "and go on"
    assert service.workers() == workers
