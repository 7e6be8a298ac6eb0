"""A database that can't be written for a while, as after a fail-over or with a full disk: it counts as one that is away."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from devstack.postgres import PostgresServer
from tests.support.client import Client
from tests.support.database import cut_connections
from tests.support.server import Server
from tests.support.steps import done, hold, tokens
from tests.support.upstream import ScriptedUpstream
from tests.support.waiting import wait_until

from .conftest import StartNode


@pytest.fixture(scope="module")
def service(start_node: StartNode) -> Iterator[Server]:
    with start_node() as server:
        yield server


@contextmanager
def read_only_server(postgres: PostgresServer) -> Iterator[None]:
    """As an operator, or a managed database whose disk is full, does it: sessions that are open notice."""

    def reload(change: str) -> None:
        with postgres.connect() as connection:
            connection.execute(change)
            connection.execute("SELECT pg_reload_conf()")

    reload("ALTER SYSTEM SET default_transaction_read_only = on")
    try:
        yield
    finally:
        reload("ALTER SYSTEM RESET default_transaction_read_only")


@contextmanager
def read_only_sessions(postgres: PostgresServer) -> Iterator[None]:
    """New sessions are read-only, and stay so when the server is not any more."""
    with postgres.connect() as connection:
        connection.execute("ALTER DATABASE postgres SET default_transaction_read_only = on")
    cut_connections(postgres.url())
    try:
        yield
    finally:
        with postgres.connect() as connection:
            connection.execute("SET default_transaction_read_only = off")
            connection.execute("ALTER DATABASE postgres RESET default_transaction_read_only")


@pytest.mark.parametrize("read_only", [read_only_server, read_only_sessions])
def test_replies_that_end_while_it_is_read_only_are_saved_afterwards(
    client: Client, upstream: ScriptedUpstream, postgres: PostgresServer, read_only: Any
) -> None:
    during, after = upstream.gate(), upstream.gate()
    upstream.script(tokens("before"), hold(during), tokens(" during"), done(), when="ends meanwhile")
    upstream.script(tokens("before"), hold(during), tokens(" during"), hold(after), tokens(" after"), done(), when="goes on")
    ends = {"ends meanwhile": "before during", "goes on": "before during after"}
    streams = {content: client.send(client.create_conversation(), content) for content in ends}
    for stream in streams.values():
        stream.read_until("before")
    with read_only(postgres):
        during.open()
        for stream in streams.values():
            stream.read_until(" during")
        wait_until(lambda: readiness(client) == "read-only", "the server says so")
        conversation = client.get("/api/conversations")["items"][0]["id"]
        for path, body in (("", {}), (f"/{conversation}/messages", {"content": "not now"})):
            refused = client.request("POST", f"/api/conversations{path}", body)
            assert (refused.status, refused.json["code"]) == (503, "database_unavailable")
            assert int(refused.headers["Retry-After"]) > 0
        # What a read-only database can do, it does.
        assert client.request("GET", "/api/conversations").status == 200
    after.open()
    for content, stream in streams.items():
        assert (stream.finish()["status"], stream.text) == ("complete", ends[content])
        message = client.get(stream.headers["Content-Location"])
        assert (message["status"], message["content"]) == ("complete", ends[content])
    wait_until(lambda: readiness(client) == "ok", "the server is ready again")
    assert client.ask(client.create_conversation(), "and go on").text == "and go on"


def readiness(client: Client) -> Any:
    answer = client.request("GET", "/api/ready")
    assert answer.status == (200 if answer.json["ready"] else 503)
    return answer.json["checks"]["database"]
