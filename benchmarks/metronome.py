"""An inference service that costs little: every stream gets its tokens at a steady rate, all from one thread.

The request says what it wants: `max_tokens` is the length of the reply, `top_k` the number of tokens a second (1 to 200). So
one such service serves all measurements of a run, and whatever relays to it needs no setting of its own.

The first token goes out at once. The later ones are due at times that are spread evenly over all streams, so that a relay sees
the same pattern whether its sends arrive together or one after the other.
"""

import argparse
import random
import re
import select
import socket
import time

# Tokens are due at ticks. A wheel has a place for each of the next ticks, so that planning a token costs no search.
TICK_S = 0.001
WHEEL = 1000
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
MOST_TOKENS = 4096
SYLLABLES = [first + vowel + last for first in "bdgklmnprstv" for vowel in "aeiou" for last in ("", "n", "r", "s", "th")]
ASKED = re.compile(rb'"(max_tokens|top_k)": *(\d+)')
CLOSING = b"\r\nconnection: close"
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


END = chunk(b'data: {"done": true}\n\n') + b"0\r\n\r\n"


def prose(length: int, seed: int) -> str:
    """Return text that compresses about as well as prose, which decides what PostgreSQL writes for a long reply."""
    chance = random.Random(seed)
    text = ""
    while len(text) < length:
        text += " " + "".join(chance.choices(SYLLABLES, k=chance.randint(1, 4)))
    return text[:length]


class Connection:
    """One connection of the relay, and the reply that it is getting."""

    __slots__ = ("held", "is_last", "is_over", "left", "period", "received", "sent", "sock")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.received = b""
        # What the relay was too slow to take; it goes out with a later token.
        self.held = b""
        self.sent = self.left = 0
        self.is_over = self.is_last = False
        self.period = WHEEL

    def send(self, data: bytes) -> None:
        if self.held:
            data, self.held = self.held + data, b""
        try:
            count = self.sock.send(data)
        except BlockingIOError:
            count = 0
        if count < len(data):
            self.held = data[count:]


class Metronome:
    def __init__(self, port: int, token_bytes: int) -> None:
        words = (f" word{number}" if token_bytes == 0 else prose(token_bytes, number) for number in range(MOST_TOKENS))
        self._chunks = [chunk(f'data: {{"token": "{word}", "gpu": 0}}\n\n'.encode()) for word in words]
        self._epoll = select.epoll()
        self._listener = socket.create_server(("127.0.0.1", port), backlog=4096)
        self._listener.setblocking(False)
        self._epoll.register(self._listener.fileno(), select.EPOLLIN)
        self._connections: dict[int, Connection] = {}
        self._wheel: list[list[Connection]] = [[] for _ in range(WHEEL)]
        self._running = 0
        self._begun = 0
        self._started_at = time.monotonic()
        self._tick = 0

    def run(self) -> None:
        while True:
            until_tick_s = self._started_at + (self._tick + 1) * TICK_S - time.monotonic()
            for descriptor, _ in self._epoll.poll(max(0.0, until_tick_s) if self._running else None):
                if descriptor == self._listener.fileno():
                    self._accept()
                else:
                    self._receive(self._connections[descriptor])
            now = int((time.monotonic() - self._started_at) / TICK_S)
            if not self._running:
                self._tick = now
            while self._tick < now:
                self._tick += 1
                self._play()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except BlockingIOError:
                return
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._connections[sock.fileno()] = Connection(sock)
            self._epoll.register(sock.fileno(), select.EPOLLIN)

    def _receive(self, connection: Connection) -> None:
        try:
            data = connection.sock.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._epoll.unregister(connection.sock.fileno())
            del self._connections[connection.sock.fileno()]
            connection.sock.close()
            return
        connection.received += data
        head, end, body = connection.received.partition(b"\r\n\r\n")
        length = LENGTH.search(head)
        if not end or len(body) < int(length[1] if length else 0):
            return
        connection.received = b""
        connection.is_last = CLOSING in head.lower()
        self._begin(connection, {name: int(number) for name, number in ASKED.findall(body)})

    def _begin(self, connection: Connection, asked: dict[bytes, int]) -> None:
        connection.sent, connection.left = 0, min(asked.get(b"max_tokens", 100), MOST_TOKENS)
        connection.is_over = False
        connection.period = round(1 / max(1, asked.get(b"top_k", 50)) / TICK_S)
        self._begun += 1
        self._running += 1
        try:
            connection.send(HEAD)
            self._send_next(connection)
        except OSError:
            self._running -= 1
            return
        self._plan(connection, 1 + self._begun % connection.period)

    def _plan(self, connection: Connection, ticks: int) -> None:
        self._wheel[(self._tick + ticks) % WHEEL].append(connection)

    def _send_next(self, connection: Connection) -> None:
        connection.send(self._chunks[connection.sent])
        connection.sent += 1
        connection.left -= 1

    def _play(self) -> None:
        """Send the tokens that are due at this tick."""
        place = self._tick % WHEEL
        due, self._wheel[place] = self._wheel[place], []
        for connection in due:
            try:
                if connection.left:
                    self._send_next(connection)
                    # Without `_plan`: at 40,000 tokens a second a call is a percent of the core.
                    self._wheel[(self._tick + connection.period) % WHEEL].append(connection)
                    continue
                connection.send(b"" if connection.is_over else END)
                connection.is_over = True
                if connection.held:  # try again: this relay is slow
                    self._plan(connection, connection.period)
                    continue
                if connection.is_last:
                    connection.sock.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # the relay has left
            self._running -= 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--token-bytes", type=int, default=0, help="bytes of text in each token, like prose; 0: a short word")
    options = parser.parse_args()
    Metronome(options.port, options.token_bytes).run()


if __name__ == "__main__":
    main()
