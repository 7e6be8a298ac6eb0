"""Servers that may be broken: each module has a PostgreSQL of its own."""

from collections.abc import Callable, Iterator

import pytest

from devstack.postgres import PostgresServer, temporary_postgres
from tests.support.auth import ScriptedAuth, make_token
from tests.support.client import Client
from tests.support.database import fill
from tests.support.server import Server
from tests.support.upstream import ScriptedUpstream

StartNode = Callable[..., Server]
NewUser = Callable[[Server], Client]


@pytest.fixture
def new_user() -> Iterator[NewUser]:
    """Make users whose streams are closed at the end of the test."""
    users: list[Client] = []

    def make(server: Server) -> Client:
        users.append(Client(server.port, make_token()))
        return users[-1]

    yield make
    for user in users:
        user.close()


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    with temporary_postgres() as server:
        fill(server)
        yield server


@pytest.fixture(scope="module")
def start_node(postgres: PostgresServer, auth_of_session: ScriptedAuth, upstream_of_session: ScriptedUpstream) -> StartNode:
    """Make servers on that PostgreSQL; each is a context manager."""

    def start(*arguments: str, database_url: str = "", **settings: str) -> Server:
        return Server(
            database_url=database_url or postgres.url(),
            auth_url=auth_of_session.url,
            upstream_url=upstream_of_session.url,
            arguments=arguments,
            **settings,
        )

    return start


@pytest.fixture(scope="module")
def survivor(start_node: StartNode) -> Iterator[Server]:
    """Run a second node, which shows what is kept of the replies of a node that ends."""
    with start_node() as server:
        yield server
