"""A request without a valid token costs no parsing of its body, and without any token not even reading it, on every surface."""

from collections.abc import Iterator

import pytest

from tests.conftest import StartServer
from tests.support.raw import RawConnection
from tests.support.server import Server
from tests.surfaces.operations import OPERATIONS, Operation

# Where ALLOW_ANONYMOUS is off, these need a token too.
OPTIONAL = ("/api/v1/chat/stream",)
WITH_BODY = [
    operation
    for operation in OPERATIONS
    if operation.method in ("POST", "PUT", "PATCH") and (operation.needs_token or operation.path.rstrip("/") in OPTIONAL)
]
AN_ID = "018f0000-0000-7000-8000-000000000000"


@pytest.fixture(scope="module")
def closed(new_server: StartServer) -> Iterator[Server]:
    with new_server() as server:
        yield server


def path_of(operation: Operation) -> str:
    return "/".join(AN_ID if part.startswith("{") else part for part in operation.path.split("/"))


def test_there_are_operations_of_every_surface() -> None:
    assert {operation.path.split("/")[1] for operation in WITH_BODY} >= {"api", "v1", "conversations"}


@pytest.mark.parametrize("operation", WITH_BODY, ids=lambda operation: operation.id)
@pytest.mark.parametrize("framing", [{"Content_Length": "100000"}, {"Transfer_Encoding": "chunked"}], ids=["length", "chunks"])
def test_without_a_token_the_body_is_not_waited_for(closed: Server, operation: Operation, framing: dict[str, str]) -> None:
    with RawConnection(closed.port) as stranger:
        stranger.send_head(operation.method, path_of(operation), **framing)
        status, headers, _ = stranger.answer()
        assert (status, headers["WWW-Authenticate"], headers["Connection"]) == (401, "Bearer", "close")


@pytest.mark.parametrize("operation", WITH_BODY, ids=lambda operation: operation.id)
def test_with_an_invalid_token_the_body_is_not_parsed(closed: Server, operation: Operation) -> None:
    with RawConnection(closed.port) as stranger:
        stranger.send_head(operation.method, path_of(operation), "not-a-token", Content_Length="1")
        stranger.send(b"{")
        # If the body had been parsed, the answer would be a 400.
        assert stranger.answer()[0] == 401
