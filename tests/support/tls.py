"""TLS in front of a scripted service, with a certificate of a throw-away authority."""

import contextlib
import select
import socket
import ssl
import threading
from pathlib import Path
from urllib.parse import urlsplit

import trustme

from .waiting import wait_until


class TLSFront:
    """Take TLS connections and pass what they say on to a service on this machine; a context manager."""

    def __init__(self, authority: trustme.CA, service_url: str, name: str = "127.0.0.1") -> None:
        service = urlsplit(service_url)
        self._service = (str(service.hostname), int(service.port or 80))
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(name).configure_cert(self._context)
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> "TLSFront":
        threading.Thread(target=self._accept, name="tls-front", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            connections = list(self._connections)
        for sock in connections:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)
        wait_until(lambda: not self._connections, "the connections are closed")

    def _accept(self) -> None:
        while True:
            try:
                plain, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(plain,), name="tls-connection", daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        # A client that does not trust us breaks the handshake off, and one that leaves its connection: neither is an error.
        with contextlib.suppress(OSError), self._context.wrap_socket(sock, server_side=True) as client:
            with self._lock:
                self._connections.add(client)
            try:
                with socket.create_connection(self._service) as service:
                    _pass_on(client, service)
            finally:
                with self._lock:
                    self._connections.discard(client)


def _pass_on(client: ssl.SSLSocket, service: socket.socket) -> None:
    """Pass bytes on in both directions until either side ends. One thread: a TLS socket must not be used by two."""
    while True:
        ready = [client] if client.pending() else select.select([client, service], [], [])[0]
        for source in ready:
            data = source.recv(65536)
            if not data:
                return
            (service if source is client else client).sendall(data)


def write_authority(authority: trustme.CA, folder: Path) -> str:
    """Write the authority's certificate into a file and return its path."""
    file = folder / "authority.pem"
    authority.cert_pem.write_to_path(str(file))
    return str(file)
