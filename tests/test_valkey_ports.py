"""Test processes start their Valkeys at the same moment, and none takes the port of another."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import redis

from tests.support.valkey import running_valkey

AT_ONCE = 6


def test_servers_that_start_at_once_have_ports_of_their_own() -> None:
    with ExitStack() as running, ThreadPoolExecutor(AT_ONCE) as threads:
        servers = list(threads.map(lambda _: running.enter_context(running_valkey()), range(AT_ONCE)))
        assert len({server.connection_url for server in servers}) == AT_ONCE
        assert all(redis.Redis.from_url(server.connection_url).ping() for server in servers)
