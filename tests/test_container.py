"""The container image, as far as that can be tested without building it."""

import json
import os
import subprocess
import sys
from collections.abc import Callable

from devstack.folder import PROJECT
from tests.support.server import Server

DOCKERFILE = (PROJECT / "Dockerfile").read_text()


def check_health(port: int) -> bool:
    """Run the image's health check."""
    (line,) = (line for line in DOCKERFILE.splitlines() if line.startswith("HEALTHCHECK"))
    program, *arguments = json.loads(line.partition(" CMD ")[2])
    assert program == "python"
    environment = {**os.environ, "PORT": str(port), "http_proxy": "http://127.0.0.1:1"}
    return subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, check=False).returncode == 0


def test_the_health_check_depends_neither_on_allowed_hosts_nor_on_a_proxy(new_server: Callable[..., Server]) -> None:
    with new_server(ALLOWED_HOSTS="chat.example.org") as server:
        assert check_health(server.port)
    assert not check_health(server.port)


def test_what_the_image_copies_is_sent_to_the_builder() -> None:
    sent = (PROJECT / ".dockerignore").read_text().split()
    copied = [line.split()[1:-1] for line in DOCKERFILE.splitlines() if line.startswith("COPY") and "--from" not in line]
    assert copied
    for source in (source for sources in copied for source in sources):
        assert f"!{source}" in sent
        assert (PROJECT / source).exists()
