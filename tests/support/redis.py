"""A real Redis of Debian, which is older than the Valkey that the other tests use."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from devstack.processes import free_port, port_is_free

from .waiting import wait_until

MISSING = "Redis is not installed (Debian packages are missing: apt-get install redis-server)"


def find_redis() -> str | None:
    return shutil.which("redis-server")


class Redis:
    """A server that writes snapshots only when it is told to."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._port = free_port()
        self.address = f"redis://127.0.0.1:{self._port}/0"

    def start(self) -> None:
        program = find_redis()
        assert program, MISSING
        options = ["--bind", "127.0.0.1", "--port", str(self._port), "--dir", self._folder, "--save", ""]
        self._process = subprocess.Popen([program, *options, "--set-proc-title", "no"], stdout=subprocess.DEVNULL)
        wait_until(self._has_started_or_ended, "Redis listens")
        assert self._process.poll() is None, "Redis has ended"

    def crash(self) -> None:
        self._process.kill()
        self._process.wait(10)

    def _has_started_or_ended(self) -> bool:
        return self._process.poll() is not None or not port_is_free("127.0.0.1", self._port)


@contextmanager
def running_redis() -> Iterator[Redis]:
    """Run a server until the block ends."""
    with tempfile.TemporaryDirectory(prefix="chat-api-redis-") as folder:
        server = Redis(folder)
        server.start()
        try:
            yield server
        finally:
            server.crash()
