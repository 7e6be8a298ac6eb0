"""What the tests of the whole service share: the real server, the services that it calls, and a client."""

from collections.abc import Iterator

import pytest

from tests.support.auth import ScriptedAuth, make_token
from tests.support.client import Client
from tests.support.server import Server
from tests.support.servers import StartServer
from tests.support.upstream import ScriptedUpstream

__all__ = ["StartServer"]


@pytest.fixture(scope="session")
def service(new_server: StartServer) -> Iterator[Server]:
    """The server with default settings; a module that needs others overrides this fixture."""
    with new_server() as server:
        yield server


@pytest.fixture(autouse=True)
def upstream(upstream_of_session: ScriptedUpstream) -> Iterator[ScriptedUpstream]:
    """The inference service, without scripts and calls of other tests."""
    yield upstream_of_session
    upstream_of_session.reset()


@pytest.fixture
def auth(auth_of_session: ScriptedAuth) -> Iterator[ScriptedAuth]:
    """The auth service, without calls of other tests."""
    auth_of_session.reset()
    yield auth_of_session
    auth_of_session.reset()


@pytest.fixture
def client(service: Server) -> Iterator[Client]:
    """A new user at the server."""
    user = Client(service.port, make_token())
    yield user
    user.close()


@pytest.fixture
def conversation(client: Client) -> str:
    """The id of a new conversation of the client."""
    return client.create_conversation()
