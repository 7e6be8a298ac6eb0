"""A proxy between a client and the server, which a test can cut while a request is under way."""

import contextlib
import socket
import threading


class CuttingProxy:
    """Relay every connection to a port of this machine. A context manager that listens while it is open."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._acceptor = threading.Thread(target=self._accept, name="cutting-proxy", daemon=True)
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._relays: list[threading.Thread] = []
        self.accepted = 0

    def cut(self) -> None:
        """Break all connections that are open now. Later ones work."""
        with self._lock:
            for sock in self._sockets:
                _shut_down(sock)

    def __enter__(self) -> "CuttingProxy":
        self._acceptor.start()
        return self

    def __exit__(self, *_: object) -> None:
        # Wakes `accept`, which closing alone does not.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._acceptor.join()
        self.cut()
        for relay in self._relays:
            relay.join()
        for sock in (self._listener, *self._sockets):
            sock.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
                with self._lock:
                    self._sockets += [client, server]
                    self.accepted += 1
                for source, target in ((client, server), (server, client)):
                    self._relays.append(threading.Thread(target=_relay, args=(source, target), daemon=True))
                    self._relays[-1].start()


def _relay(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    _shut_down(source)
    _shut_down(target)


def _shut_down(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
