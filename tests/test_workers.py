"""What the start says about workers that share nothing."""

from tests.conftest import StartServer
from tests.support.server import Server
from tests.support.valkey import running_valkey


def warnings(server: Server) -> list[str]:
    return [line["level"] for line in server.log_lines() if "CACHE_URL" in line["message"]]


def test_workers_that_count_alone_are_told_of_once(new_server: StartServer) -> None:
    with new_server(WEB_CONCURRENCY="2") as server:
        assert warnings(server) == ["WARNING"]


def test_one_worker_is_told_nothing(service: Server) -> None:
    assert warnings(service) == []


def test_with_a_shared_cache_there_is_nothing_to_tell(new_server: StartServer) -> None:
    with running_valkey() as valkey, new_server(WEB_CONCURRENCY="2", CACHE_URL=valkey.connection_url) as server:
        assert warnings(server) == []
