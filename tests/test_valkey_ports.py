"""Test processes start their Valkeys at the same moment, and none takes the port of another."""

import threading
from concurrent.futures import ThreadPoolExecutor

import redis

from tests.support.valkey import running_valkey

AT_ONCE = 6


def test_servers_that_start_at_once_have_ports_of_their_own() -> None:
    everyone = threading.Barrier(AT_ONCE)

    def run(_: int) -> str:
        everyone.wait(timeout=30)
        with running_valkey() as server:
            assert redis.Redis.from_url(server.connection_url).ping()
            # Until all of them run.
            everyone.wait(timeout=60)
            return str(server.connection_url)

    with ThreadPoolExecutor(AT_ONCE) as threads:
        assert len(set(threads.map(run, range(AT_ONCE)))) == AT_ONCE
