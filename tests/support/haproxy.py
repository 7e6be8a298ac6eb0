"""A real HAProxy with the project's configuration."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from devstack.folder import PROJECT
from devstack.processes import free_port, port_is_free

from .waiting import wait_until

CONFIGURATION = PROJECT / "deploy" / "haproxy" / "haproxy.cfg"
MISSING = "HAProxy is not installed (on Debian: apt-get install haproxy)"


def find_haproxy() -> str | None:
    return shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin")


@contextmanager
def running_haproxy(*nodes: int) -> Iterator[int]:
    """Run HAProxy in front of the nodes that listen on these two ports. Give its port."""
    program, port = find_haproxy(), free_port()
    assert program, MISSING
    with tempfile.TemporaryDirectory(prefix="chat-api-haproxy-") as folder:
        configuration, output = Path(folder, "haproxy.cfg"), Path(folder, "output")
        configuration.write_text(_adapt(CONFIGURATION.read_text(), port, nodes))
        with output.open("wb") as log:
            process = subprocess.Popen([program, "-db", "-f", str(configuration)], stdout=log, stderr=log)
        try:
            wait_until(lambda: process.poll() is not None or not port_is_free("127.0.0.1", port), "HAProxy listens")
            assert process.poll() is None, output.read_text()
            assert "[WARNING]" not in output.read_text(), output.read_text()
            yield port
        finally:
            process.terminate()  # its hard stop
            process.wait(10)


def _adapt(configuration: str, port: int, nodes: tuple[int, ...]) -> str:
    """Replace only the addresses, which every machine has of its own. X-Node tells the tests which node answered."""
    configuration = configuration.replace("bind :80", f"bind 127.0.0.1:{port}\n    http-response set-header X-Node %si:%sp")
    for number, node in enumerate(nodes, 1):
        assert configuration.count(f"chat-{number}:8002") == 2
        configuration = configuration.replace(f"chat-{number}:8002", f"127.0.0.1:{node}")
    return configuration
