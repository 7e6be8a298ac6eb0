"""How many connections of a worker one address may have."""

import contextlib
from collections.abc import Iterator

import pytest

from tests.conftest import StartServer
from tests.support.client import Client
from tests.support.raw import RawConnection
from tests.support.server import Server

MOST = 20
OTHER = "127.0.0.2"


@pytest.fixture(scope="module")
def service(new_server: StartServer) -> Iterator[Server]:
    with new_server(arguments=("--worker-connections", str(MOST))) as server:
        yield server


@pytest.fixture(scope="module")
def behind_proxy(new_server: StartServer) -> Iterator[Server]:
    with new_server(arguments=("--worker-connections", str(MOST)), TRUSTED_PROXIES="127.0.0.1") as server:
        yield server


def is_served(port: int, source: str) -> bool:
    with RawConnection(port, source=source) as connection:
        connection.send_head("GET", "/api/health")
        return connection.answer()[0] == 200


def test_one_address_gets_half_of_the_connections(client: Client) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(MOST):
            silent = stack.enter_context(RawConnection(client.port, source=OTHER))
            # An unfinished request keeps its connection until its deadline.
            with contextlib.suppress(OSError):
                silent.send(b"GET /api/health HTTP/1.1\r\nX-Endless: x")
        with RawConnection(client.port, source=OTHER) as refused:
            status, headers, body = refused.answer()
            assert (status, body["code"], headers["Connection"], headers["Retry-After"]) == (429, "throttled", "close", "5")
        assert all(is_served(client.port, f"127.0.0.{number}") for number in range(3, 9))
    # What has been closed counts no longer.
    assert all(is_served(client.port, OTHER) for _ in range(MOST))


def test_a_proxy_of_ours_may_have_them_all(behind_proxy: Server) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(MOST // 2 + 2):
            kept = stack.enter_context(RawConnection(behind_proxy.port))
            kept.send_head("GET", "/api/health")
            assert kept.answer()[0] == 200
