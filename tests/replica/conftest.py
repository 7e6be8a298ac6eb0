"""Two nodes with one cache, a primary and a standby that they may read from."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from devstack.postgres import temporary_postgres
from tests.replica.standby import Marks, Pair
from tests.support.auth import ScriptedAuth
from tests.support.database import fill
from tests.support.server import Server
from tests.support.upstream import ScriptedUpstream
from tests.support.valkey import running_valkey
from tests.support.waiting import wait_until

StartNode = Callable[..., Server]


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with temporary_postgres() as primary:
        fill(primary)
        with temporary_postgres(copy_of=primary) as standby:
            yield Pair(primary, standby)


@pytest.fixture(scope="module")
def cache_url() -> Iterator[str]:
    with running_valkey() as valkey:
        yield valkey.connection_url


@pytest.fixture(scope="module")
def start_node(pair: Pair, cache_url: str, auth_of_session: ScriptedAuth, upstream_of_session: ScriptedUpstream) -> StartNode:
    def start(database_url: str = "", **settings: str) -> Server:
        return Server(
            database_url=database_url or pair.primary.url(),
            auth_url=auth_of_session.url,
            upstream_url=upstream_of_session.url,
            **{
                "CACHE_URL": cache_url,
                "DATABASE_REPLICA_URL": pair.standby.url(),
                # Longer than a test keeps the standby behind.
                "DATABASE_REPLICA_MAX_LAG": "300",
                "INSECURE_COOKIES": "true",
                "METRICS_TOKEN": "a-token-for-the-metrics-of-the-replica",
                **settings,
            },
        )

    return start


@pytest.fixture(scope="module")
def nodes(start_node: StartNode) -> Iterator[list[Server]]:
    with ExitStack() as stack:
        yield [reading(stack.enter_context(start_node())) for _ in range(2)]


@pytest.fixture(scope="module")
def service(nodes: list[Server]) -> Server:
    return nodes[0]


@pytest.fixture
def marks(cache_url: str) -> Marks:
    return Marks(cache_url)


def reading(node: Server) -> Server:
    """Wait until a node reads from its replica."""
    wait_until(lambda: "reading from the replica" in node.log and node.log_lines(), "the node reads from the replica")
    return node
