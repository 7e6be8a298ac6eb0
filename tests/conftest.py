"""What black-box tests share: a database, an auth service, an inference service, and the real server between them."""

from collections.abc import Callable, Iterator

import pytest

from tests.support.auth import ScriptedAuth, make_token
from tests.support.client import Client
from tests.support.database import migrated_database
from tests.support.server import Server
from tests.support.upstream import ScriptedUpstream

StartServer = Callable[..., Server]


@pytest.fixture(scope="session")
def database_url() -> Iterator[str]:
    with migrated_database() as url:
        yield url


@pytest.fixture(scope="session")
def auth_of_session() -> Iterator[ScriptedAuth]:
    with ScriptedAuth() as scripted:
        yield scripted


@pytest.fixture(scope="session")
def upstream_of_session() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream() as scripted:
        yield scripted


@pytest.fixture(scope="session")
def new_server(database_url: str, auth_of_session: ScriptedAuth, upstream_of_session: ScriptedUpstream) -> StartServer:
    """Make servers on the session's database with settings of the test's choice; each is a context manager."""

    def make(**settings: str) -> Server:
        urls = {"database_url": database_url, "auth_url": auth_of_session.url, "upstream_url": upstream_of_session.url}
        return Server(**urls, **settings)

    return make


@pytest.fixture(scope="session")
def service(new_server: StartServer) -> Iterator[Server]:
    """The server with default settings; a module that needs others overrides this fixture."""
    with new_server() as server:
        yield server


@pytest.fixture(autouse=True)
def upstream(upstream_of_session: ScriptedUpstream) -> Iterator[ScriptedUpstream]:
    """The inference service, as good as new."""
    yield upstream_of_session
    upstream_of_session.reset()


@pytest.fixture
def auth(auth_of_session: ScriptedAuth) -> Iterator[ScriptedAuth]:
    """The auth service, as good as new."""
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
