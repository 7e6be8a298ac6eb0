"""deploy/nginx/admin.conf: the admin at an address of its own, with a node that is only a socket."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from devstack.folder import PROJECT
from devstack.processes import free_port, port_is_free
from tests.support.client import Client
from tests.support.nginx import AROUND, MISSING, find_nginx
from tests.support.waiting import wait_until

from .test_nginx import Node, answer_of

pytestmark = pytest.mark.skipif(find_nginx() is None, reason=MISSING)
CONFIGURATION = (PROJECT / "deploy" / "nginx" / "admin.conf").read_text()


def write(folder: Path, node: int, changes: dict[str, str]) -> list[str]:
    """Write the configuration with the addresses of this machine. Return nginx's command."""
    folder.chmod(0o755)
    adapted = CONFIGURATION
    for written, here in {"10.0.0.5:8003": f"127.0.0.1:{node}", "/var/log/nginx/admin.log": f"{folder}/log", **changes}.items():
        assert adapted.count(written) == 1, written
        adapted = adapted.replace(written, here)
    Path(folder, "chat-api.conf").write_text(adapted)
    Path(folder, "nginx.conf").write_text(AROUND.format(folder=folder, address="127.0.0.9", more=""))
    return [find_nginx() or "", "-c", f"{folder}/nginx.conf", "-p", str(folder), "-e", f"{folder}/error.log"]


@pytest.fixture
def proxied(tmp_path: Path) -> Iterator[tuple[int, Node]]:
    node, port = Node(answer_of("text/html", b"page")), free_port()
    changes = {
        "listen 443 ssl;": f"listen 127.0.0.1:{port};",
        "listen [::]:443 ssl;": "",
        "ssl_certificate /etc/ssl/admin.example.com.pem;": "",
        "ssl_certificate_key /etc/ssl/private/admin.example.com.key;": "",
        "allow 10.0.0.0/8;": "allow 127.0.0.1;",
    }
    process = subprocess.Popen(write(tmp_path, node.port, changes))
    try:
        wait_until(lambda: process.poll() is not None or not port_is_free("127.0.0.1", port), "nginx listens")
        yield port, node
    finally:
        process.terminate()
        process.wait(10)
        node.close()


def test_nginx_takes_the_file_as_it_is(tmp_path: Path) -> None:
    certificate = trustme.CA().issue_cert("admin.example.com")
    certificate.cert_chain_pems[0].write_to_path(str(tmp_path / "pem"))
    certificate.private_key_pem.write_to_path(str(tmp_path / "key"))
    changes = {
        "/etc/ssl/admin.example.com.pem": f"{tmp_path}/pem",
        "/etc/ssl/private/admin.example.com.key": f"{tmp_path}/key",
    }
    checked = subprocess.run([*write(tmp_path, 1, changes), "-t"], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize(
    ("path", "status"),
    [("/admin/login/", 200), ("/static/admin/css/base.css", 200), ("/", 302), ("/api/usage", 404), ("/v1/models", 404)],
)
def test_only_the_admin_is_served(proxied: tuple[int, Any], path: str, status: int) -> None:
    port, node = proxied
    answer = Client(port, None).request("GET", path, headers={"X-Forwarded-For": "192.0.2.1"})
    assert answer.status == status
    assert len(node.requests) == (status == 200)
    if node.requests:
        # What a browser claims about its address does not reach the record.
        assert b"X-Forwarded-For: 127.0.0.1\r\n" in node.requests[0]
