"""What the tests of the surfaces share: a server that allows anonymous callers, clients of it, and assistants."""

import uuid
from collections.abc import Callable, Iterator

import psycopg
import pytest

from tests.support.auth import make_token
from tests.support.client import Client
from tests.support.server import Server

MakeAssistant = Callable[..., str]


@pytest.fixture(scope="session")
def service(open_service: Server) -> Server:
    return open_service


@pytest.fixture
def anonymous_client(service: Server) -> Iterator[Client]:
    """A client without a token."""
    caller = Client(service.port, None)
    yield caller
    caller.close()


@pytest.fixture
def other_client(service: Server) -> Iterator[Client]:
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
    """Insert an assistant and return its id. It becomes inactive when the test ends."""
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
