"""The resolver does not answer for a name that the service needs."""

from tests.conftest import StartServer
from tests.support.auth import make_token
from tests.support.client import Client
from tests.support.parallel import at_once

MORE_THAN_GEVENTS_THREADS = 12


def test_a_cache_whose_name_is_not_found_is_a_cache_that_is_away(new_server: StartServer) -> None:
    def read(_: int) -> int:
        user = Client(server.port, make_token())
        try:
            return user.request("GET", "/api/conversations").status
        finally:
            user.close()

    with new_server(application="tests.streams.silent_names", CACHE_URL="redis://cache.silent:6379/0") as server:
        assert at_once(read, MORE_THAN_GEVENTS_THREADS) == [200] * MORE_THAN_GEVENTS_THREADS
