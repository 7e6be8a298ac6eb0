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


@contextmanager
def running_redis() -> Iterator[str]:
    """Run a server until the block ends. Give its address."""
    program, port = find_redis(), free_port()
    assert program, MISSING
    with tempfile.TemporaryDirectory(prefix="chat-api-redis-") as folder:
        options = ["--bind", "127.0.0.1", "--port", str(port), "--dir", folder, "--save", "", "--set-proc-title", "no"]
        process = subprocess.Popen([program, *options], stdout=subprocess.DEVNULL)
        try:
            wait_until(lambda: process.poll() is not None or not port_is_free("127.0.0.1", port), "Redis listens")
            assert process.poll() is None, "Redis has ended"
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            process.terminate()
            process.wait(10)
