"""Two nodes of the service behind nginx, with one PostgreSQL and one Valkey."""

from collections.abc import Callable, Iterator

import pytest

from tests.support.auth import make_token
from tests.support.client import Client
from tests.support.nginx import ADDRESS, MISSING, find_nginx, running_nginx
from tests.support.servers import StartServer
from tests.support.valkey import running_valkey

from .cluster import Cluster

NewUser = Callable[[], Client]
# So that an ending node lets replies run on for 7 s, and the replies of a killed one are soon interrupted.
SETTINGS = {
    "ABANDONED_AFTER_SECONDS": "6",
    "TRUSTED_PROXIES": ADDRESS,
    "THROTTLE_SEND": "40/d",
    "THROTTLE_REJECTED_TOKENS": "5/d",
}
GRACEFUL = ("--graceful-timeout", "12")


@pytest.fixture(scope="package")
def cluster(new_server: StartServer) -> Iterator[Cluster]:
    if find_nginx() is None:
        pytest.skip(MISSING)
    with running_valkey() as valkey:
        settings = {**SETTINGS, "CACHE_URL": valkey.connection_url}
        with (
            Cluster(lambda port: new_server(PORT=str(port), arguments=GRACEFUL, **settings)) as nodes,
            running_nginx(*nodes.ports) as nginx,
        ):
            nodes.nginx = nginx
            yield nodes


@pytest.fixture
def new_user(cluster: Cluster) -> Iterator[NewUser]:
    """Make users who call nginx, and whose streams are closed at the end of the test."""
    users: list[Client] = []

    def make() -> Client:
        users.append(Client(cluster.nginx.port, make_token()))
        return users[-1]

    yield make
    for user in users:
        user.close()


@pytest.fixture
def client(new_user: NewUser) -> Client:
    return new_user()
