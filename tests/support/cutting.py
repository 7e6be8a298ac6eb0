"""A network between a client and the service that can break: a relay of bytes that breaks connections when a test says so."""

import contextlib
import socket
import threading
from collections.abc import Callable

from .waiting import wait_until


class CuttingRelay:
    """A context manager that listens on a port and relays each connection to the service."""

    def __init__(self, port: int) -> None:
        self._service_port = port
        self._cut_at: list[bytes] = []
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()
        self.connections = 0
        self.cuts = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def cut_at(self, *answers: bytes) -> None:
        """Break connections: each in front of one of these bytes of its answer, in this order. b"" is the whole answer."""
        self._cut_at = list(answers)

    def cut_now(self) -> None:
        """Break all connections that are open. Later ones work."""
        with self._lock:
            sockets, self._sockets = self._sockets, set()
        for sock in sockets:
            _close(sock)

    def wait_cuts(self, count: int) -> None:
        wait_until(lambda: self.cuts >= count, f"{count} connections are cut")

    def __enter__(self) -> "CuttingRelay":
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, name="relay", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for sock in self._sockets:
                _close(sock)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                service = socket.create_connection(("127.0.0.1", self._service_port))
                with self._lock:
                    self.connections += 1
                    self._sockets |= {client, service}
                for source, target, filtered in ((client, service, None), (service, client, self._take_until_cut)):
                    threading.Thread(target=self._relay, args=(source, target, filtered), daemon=True).start()

    def _relay(
        self, source: socket.socket, target: socket.socket, filtered: Callable[[bytes, bytes], bytes | None] | None
    ) -> None:
        seen = b""
        with contextlib.suppress(OSError):
            while piece := source.recv(65536):
                allowed = piece if filtered is None else filtered(seen, piece)
                if allowed is None:
                    break
                target.sendall(allowed)
                seen += piece
                if len(allowed) < len(piece):
                    break
        _close(source)
        _close(target)

    def _take_until_cut(self, seen: bytes, piece: bytes) -> bytes | None:
        """Return the part of an answer's next piece that the client gets; all of it if it is not time to cut."""
        with self._lock:
            if not self._cut_at or (found := (seen + piece).find(self._cut_at[0])) < 0:
                return piece
            self._cut_at.pop(0)
            self.cuts += 1
        return piece[: max(0, found - len(seen))] or None


def _close(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
    sock.close()
