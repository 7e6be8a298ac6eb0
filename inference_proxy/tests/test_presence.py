"""Whether a client is still there, by its socket."""

import socket
import struct
from collections.abc import Iterator

import pytest

from inference_proxy.replies.presence import is_connected
from tests.support.waiting import wait_until

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    """A server's socket and its client's, connected over TCP."""
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as client:
        server, _ = listener.accept()
        with server:
            yield server, client


def test_a_silent_client_is_there(pair: Pair) -> None:
    server, _ = pair
    assert is_connected(server)


@pytest.mark.parametrize("timeout", [None, 60.0])
def test_looking_changes_nothing(pair: Pair, timeout: float | None) -> None:
    server, client = pair
    server.settimeout(timeout)
    client.sendall(b"more")
    wait_until(lambda: is_connected(server), "it is there")
    assert server.gettimeout() == timeout
    assert server.recv(10) == b"more"


@pytest.mark.parametrize("linger", [False, True], ids=["in good order", "abruptly"])
def test_a_client_that_left_is_not(pair: Pair, linger: bool) -> None:
    server, client = pair
    if linger:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    wait_until(lambda: not is_connected(server), "it has left")


def test_a_closed_socket_has_no_client(pair: Pair) -> None:
    server, _ = pair
    server.close()
    assert not is_connected(server)


def test_without_a_socket_it_is_not_known_to_have_left() -> None:
    assert is_connected(None)
