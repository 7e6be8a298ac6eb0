"""What the tests of the surfaces share: the real server, anonymous callers allowed, and assistants as staff write them."""

import uuid
from collections.abc import Callable, Iterator

import psycopg
import pytest

from tests.conftest import StartServer
from tests.support.auth import make_token
from tests.support.client import Client
from tests.support.server import Server

MakeAssistant = Callable[..., str]


@pytest.fixture(scope="session")
def service(new_server: StartServer) -> Iterator[Server]:
    with new_server(ALLOW_ANONYMOUS="true") as server:
        yield server


@pytest.fixture
def anonymous(service: Server) -> Iterator[Client]:
    """Someone without a token."""
    nobody = Client(service.port, None)
    yield nobody
    nobody.close()


@pytest.fixture
def stranger(service: Server) -> Iterator[Client]:
    """Another user."""
    other = Client(service.port, make_token())
    yield other
    other.close()


@pytest.fixture
def database(database_url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def make_assistant(database: psycopg.Connection) -> Iterator[MakeAssistant]:
    """Write an assistant into the database and return its id; it retires when the test is over."""
    made: list[str] = []

    def make(*, system_prompt: str = "", public: bool = False, active: bool = True, model_tag: str = "") -> str:
        row = database.execute(
            "INSERT INTO assistants (name, system_prompt, requires_authentication, is_active, model_tag)"
            " VALUES (%s, %s, %s, %s, %s) RETURNING id",
            [f"assistant {uuid.uuid4()}", system_prompt, not public, active, model_tag],
        ).fetchone()
        assert row
        made.append(str(row[0]))
        return made[-1]

    yield make
    database.execute("UPDATE assistants SET is_active = false WHERE id = ANY(%s::uuid[])", [made])
