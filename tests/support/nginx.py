"""A real nginx with the project's configuration."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from devstack.folder import PROJECT
from devstack.processes import free_port, port_is_free

from .waiting import wait_until

CONFIGURATION = PROJECT / "deploy" / "nginx" / "chat-api.conf"
MISSING = "nginx is not installed (on Debian: apt-get install nginx-light)"
# nginx calls the nodes from this address, so that they can tell it from clients on this machine.
ADDRESS = "127.0.0.9"
# What a system's own nginx.conf has around the project's file. X-Node tells the tests which node answered.
AROUND = """
worker_processes 2;
daemon off;
pid {folder}/pid;
error_log {folder}/error.log info;
events {{ worker_connections 4096; }}
http {{
    client_body_temp_path {folder}/bodies;
    proxy_temp_path {folder}/answers;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    proxy_bind {address};
    add_header X-Node $upstream_addr always;
    {more}
    include {folder}/chat-api.conf;
}}
"""


def find_nginx() -> str | None:
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")


class Nginx:
    """The proxy of some nodes on this machine."""

    configuration = CONFIGURATION
    upstreams: tuple[str, ...] = ("server chat-1:8002", "server chat-2:8002")

    def __init__(self, folder: Path, nodes: Sequence[int], add_headers: dict[str, str] | None = None) -> None:
        self.port = free_port()
        self._program = find_nginx() or ""
        assert self._program, MISSING
        self._folder = folder
        # Run as root, nginx gives its workers another user, who needs the folder.
        folder.chmod(0o755)
        Path(folder, "chat-api.conf").write_text(self._adapt(self.configuration.read_text(), nodes))
        more = " ".join(f"add_header {name} {value} always;" for name, value in (add_headers or {}).items())
        Path(folder, "nginx.conf").write_text(AROUND.format(folder=folder, address=ADDRESS, more=more))
        self._command = [self._program, "-c", f"{folder}/nginx.conf", "-p", str(folder), "-e", f"{folder}/error.log"]

    @property
    def access_log(self) -> str:
        return Path(self._folder, "access.log").read_text()

    def check(self) -> "subprocess.CompletedProcess[str]":
        """Have nginx check the configuration."""
        return subprocess.run([*self._command, "-t"], capture_output=True, text=True, check=False)

    @contextmanager
    def run(self) -> Iterator[None]:
        with Path(self._folder, "output").open("wb") as output:
            process = subprocess.Popen(self._command, stdout=output, stderr=output, env=dict(os.environ))
        try:
            wait_until(lambda: process.poll() is not None or not port_is_free("127.0.0.1", self.port), "nginx listens")
            assert process.poll() is None, Path(self._folder, "error.log").read_text()
            yield
        finally:
            process.terminate()  # its fast shutdown
            process.wait(10)

    def _adapt(self, configuration: str, nodes: Sequence[int]) -> str:
        """Replace only what every machine has of its own: addresses and the place of the log."""
        for written, here in {
            "listen 80;": f"listen 127.0.0.1:{self.port};",
            "listen [::]:80;": "",
            "/var/log/nginx/access.log": f"{self._folder}/access.log",
            **{name: f"server 127.0.0.1:{port}" for name, port in zip(self.upstreams, nodes, strict=True)},
        }.items():
            assert configuration.count(written) == 1, written
            configuration = configuration.replace(written, here)
        return configuration


@contextmanager
def running_nginx(*nodes: int, add_headers: dict[str, str] | None = None) -> Iterator[Nginx]:
    """Run nginx in front of the nodes that listen on these two ports. It adds headers to its answers."""
    with tempfile.TemporaryDirectory(prefix="chat-api-nginx-") as folder:
        nginx = Nginx(Path(folder), nodes, add_headers)
        with nginx.run():
            yield nginx
