"""A pytest plugin: the database, the auth service and the inference service of a test session, and servers that use them."""

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.auth import ScriptedAuth
from tests.support.database import migrated_database
from tests.support.pgbouncer import pgbouncer
from tests.support.server import Server
from tests.support.upstream import ScriptedUpstream

StartServer = Callable[..., Server]


@pytest.fixture(scope="session")
def database_url() -> Iterator[str]:
    with migrated_database() as url:
        yield url


@pytest.fixture(scope="session")
def service_database_url(database_url: str) -> Iterator[str]:
    """The database as the servers under test reach it."""
    if os.environ.get("PGBOUNCER"):
        with pgbouncer(database_url) as url:
            yield url
    else:
        yield database_url


@pytest.fixture(scope="session")
def auth_of_session() -> Iterator[ScriptedAuth]:
    with ScriptedAuth() as scripted:
        yield scripted


@pytest.fixture(scope="session")
def upstream_of_session() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream() as scripted:
        yield scripted


@pytest.fixture(scope="session")
def new_server(service_database_url: str, auth_of_session: ScriptedAuth, upstream_of_session: ScriptedUpstream) -> StartServer:
    """Make servers on the session's database with settings of the test's choice; each is a context manager."""

    def make(**settings: Any) -> Server:
        urls: dict[str, Any] = {
            "database_url": service_database_url,
            "auth_url": auth_of_session.url,
            "upstream_url": upstream_of_session.url,
        }
        return Server(**urls, **settings)

    return make


@pytest.fixture(scope="session")
def open_service(new_server: StartServer) -> Iterator[Server]:
    """A server that anonymous callers may use."""
    with new_server(ALLOW_ANONYMOUS="true") as server:
        yield server
