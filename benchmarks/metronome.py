"""An inference service that costs little: every stream gets a token at a steady rate, all from one thread."""

import argparse
import heapq
import selectors
import socket
import time

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
DONE = b'data: {"done": true}\n\n'


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


class Metronome:
    def __init__(self, port: int, tokens: int, rate: float) -> None:
        self._tokens, self._period_s = tokens, 1 / rate
        self._selector = selectors.DefaultSelector()
        self._listener = socket.create_server(("127.0.0.1", port), backlog=4096)
        self._listener.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._received: dict[socket.socket, bytes] = {}
        # When the next token is due, a number that tells equals apart, how many were sent, to whom.
        self._due: list[tuple[float, int, int, socket.socket]] = []
        self._count = 0

    def run(self) -> None:
        while True:
            wait_s = max(0.0, self._due[0][0] - time.monotonic()) if self._due else None
            for key, _ in self._selector.select(wait_s):
                if key.fileobj is self._listener:
                    self._accept()
                else:
                    self._receive(key.fileobj)  # type: ignore[arg-type]
            now = time.monotonic()
            while self._due and self._due[0][0] <= now:
                self._beat(*heapq.heappop(self._due))

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received[client] = b""
        self._selector.register(client, selectors.EVENT_READ)

    def _receive(self, client: socket.socket) -> None:
        try:
            data = client.recv(65536)
        except OSError:
            data = b""
        if not data:
            self._selector.unregister(client)
            self._received.pop(client)
            client.close()
            return
        received = self._received[client] + data
        head, _, body = received.partition(b"\r\n\r\n")
        length = next((int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0)
        if not head or len(body) < length:
            self._received[client] = received
            return
        self._received[client] = b""
        client.sendall(HEAD)
        self._schedule(time.monotonic() + self._period_s, 0, client)

    def _schedule(self, at: float, sent: int, client: socket.socket) -> None:
        self._count += 1
        heapq.heappush(self._due, (at, self._count, sent, client))

    def _beat(self, at: float, _: int, sent: int, client: socket.socket) -> None:
        try:
            if sent == self._tokens:
                client.sendall(chunk(DONE) + b"0\r\n\r\n")
            else:
                client.sendall(chunk(b'data: {"token": " word%d", "gpu": 0}\n\n' % sent))
                self._schedule(at + self._period_s, sent + 1, client)
        except OSError:
            pass  # it left


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--tokens", type=int, default=100)
    parser.add_argument("--rate", type=float, default=50, help="tokens a second, of each stream")
    options = parser.parse_args()
    Metronome(options.port, options.tokens, options.rate).run()


if __name__ == "__main__":
    main()
