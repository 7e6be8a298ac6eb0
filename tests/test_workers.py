"""What the start says about workers that share nothing."""

import pytest

from tests.conftest import StartServer
from tests.support.valkey import running_valkey


@pytest.mark.parametrize(("workers", "expected"), [("1", 0), ("2", 1)])
def test_workers_that_count_alone_are_told_of_once(new_server: StartServer, workers: str, expected: int) -> None:
    with new_server(WEB_CONCURRENCY=workers) as server:
        warnings = [line for line in server.log_lines() if "CACHE_URL" in line["message"]]
    assert [line["level"] for line in warnings] == ["WARNING"] * expected


def test_with_a_shared_cache_there_is_nothing_to_tell(new_server: StartServer) -> None:
    with running_valkey() as valkey, new_server(WEB_CONCURRENCY="2", CACHE_URL=valkey.connection_url) as server:
        assert not [line for line in server.log_lines() if "CACHE_URL" in line["message"]]
