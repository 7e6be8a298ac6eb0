"""POST /api/v1/chat/stream without a valid token, where ALLOW_ANONYMOUS is off."""

from collections.abc import Iterator

import pytest

from conversations.surfaces.sessions.tests.calls import STREAM
from tests.conftest import StartServer
from tests.support.client import Client
from tests.support.raw import RawConnection
from tests.support.server import Server


@pytest.fixture(scope="module")
def service(new_server: StartServer) -> Iterator[Server]:
    with new_server() as server:
        yield server


@pytest.mark.parametrize("body", [b"{", b"[" * 1000, b'{"message": 1}'])
@pytest.mark.parametrize("token", [None, "", "not-a-token"])
def test_the_body_is_not_parsed(client: Client, body: bytes, token: str | None) -> None:
    with RawConnection(client.port) as stranger:
        stranger.send_head("POST", STREAM, token, Content_Length=str(len(body)))
        stranger.send(body)
        status, headers, answer = stranger.answer()
    # If the body had been parsed, the answer would be a 400.
    assert (status, answer["code"], headers["WWW-Authenticate"]) == (401, "not_authenticated", "Bearer")
