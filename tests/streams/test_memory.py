"""The memory of a worker, while clients send bodies that are meant to fill it. docs/operating.md states the bound."""

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import StartServer
from tests.support.auth import make_token
from tests.support.client import Client
from tests.support.raw import RawConnection
from tests.support.server import Server

MEBIBYTE = 1024 * 1024
# As in docs/operating.md: how much a worker grows at most because of one address, and because of any number of them.
BOUNDS = {"one-address": (1, 160 * MEBIBYTE), "many-addresses": (20, 320 * MEBIBYTE)}
LONG = 8 * MEBIBYTE
ORDINARY = 256 * 1024
CONNECTIONS = 800


@pytest.fixture
def attacked(new_server: StartServer) -> Iterator[Server]:
    with new_server(ALLOW_ANONYMOUS="true") as server:
        yield server


def most_memory(server: Server) -> int:
    """The most memory that the worker has ever used, in bytes."""
    (worker,) = server.workers()
    (line,) = [line for line in Path(f"/proc/{worker}/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024


def empty_objects(field: str) -> bytes:
    start = b'{"session_id": "s", "message": "hi", "id": "c", "%s": [' % field.encode()
    return start + b"{}," * ((LONG - len(start) - 4) // 3) + b"{}]}"


def address(number: int, addresses: int) -> str:
    return f"127.0.1.{number % addresses + 1}"


def send_together(port: int, path: str, token: str | None, body: bytes, addresses: int) -> None:
    def send(number: int) -> None:
        with contextlib.suppress(OSError), RawConnection(port, source=address(number, addresses)) as connection:
            connection.send_head("POST", path, token, Content_Length=str(len(body)))
            connection.send(body)
            connection.answer()

    senders = [threading.Thread(target=send, args=(number,)) for number in range(16)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()


@pytest.mark.parametrize("case", BOUNDS)
def test_bodies_of_millions_of_objects_and_unfinished_ones_stay_within_the_bound(case: str, attacked: Server) -> None:
    addresses, bound = BOUNDS[case]
    token = make_token()
    client = Client(attacked.port, token)
    assert client.request("GET", "/api/conversations").status == 200
    before = most_memory(attacked)
    with contextlib.ExitStack() as stack:
        for number in range(CONNECTIONS):
            unfinished = stack.enter_context(RawConnection(attacked.port, source=address(number, addresses)))
            with contextlib.suppress(OSError):
                sender = token if number % 2 else None
                unfinished.send_head("POST", "/api/v1/chat/stream", sender, Content_Length=str(ORDINARY))
                unfinished.socket.settimeout(0.05)
                unfinished.send(b" " * (ORDINARY - 1))
        for path, field in (("/api/v1/chat/stream", "history"), ("/api/chat", "messages"), ("/api/chat", "unknown")):
            for sender in (token, None):
                send_together(attacked.port, path, sender, empty_objects(field), addresses)
        # Others are served meanwhile.
        assert client.request("GET", "/api/conversations").status == 200
    grown = most_memory(attacked) - before
    assert grown < bound
    client.close()
