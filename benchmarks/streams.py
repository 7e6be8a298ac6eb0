"""What replies cost: CPU time of one worker per relayed token, memory per stream, and how long the first token takes.

    python -m benchmarks.streams --streams 50 500

All streams of a round begin at once, each with a send of its own. The CPU time is the worker's user and system time from the
first send to the last `done`, everything included. Where there are two processors or more, the worker has one to itself.
"""

import argparse
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from benchmarks.databases import empty_database
from benchmarks.measuring import cpu_seconds, keep_apart, percentile, resident_bytes
from devstack.processes import free_port
from tests.support.auth import ScriptedAuth, make_token
from tests.support.client import Client
from tests.support.server import Server
from tests.support.waiting import wait_until

REQUEST = (
    "POST /api/conversations/{conversation}/messages HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n"
    "Content-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
)
BODY = '{"content": "Tell me something."}'
COMPLETE = b'"status":"complete"'


@dataclass(eq=False)
class Reader:
    """A client that reads its stream and remembers no more than it must."""

    sock: socket.socket
    started_at: float
    first_token_s: float | None = None
    tokens: int = 0
    end: bytes = b""

    def read(self) -> bool:
        """Read what is there; return whether the stream goes on."""
        data = self.sock.recv(262144)
        if not data:
            return False
        if self.first_token_s is None and b'"token"' in data:
            self.first_token_s = time.monotonic() - self.started_at
        self.tokens += data.count(b'"token"')
        self.end = (self.end + data)[-200:]
        return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, nargs="+", default=[50, 200, 500], help="how many at once, one round for each")
    parser.add_argument("--tokens", type=int, default=100)
    parser.add_argument("--rate", type=float, default=50, help="tokens a second, of each stream")
    options = parser.parse_args()
    with ExitStack() as parts:
        auth = parts.enter_context(ScriptedAuth())
        upstream_url = parts.enter_context(metronome(options.tokens, options.rate))
        settings = {"LOG_LEVEL": "WARNING", "WEB_CONCURRENCY": "1", "DB_POOL_SIZE": "10"}
        server = parts.enter_context(
            Server(database_url=empty_database(), auth_url=auth.url, upstream_url=upstream_url, **settings)
        )
        (worker,) = server.workers()
        keep_apart(worker)
        measure(server, worker, 10, options.tokens)  # what is only loaded once
        print("streams  CPU/token  first token p50, p95    memory/stream")
        for count in options.streams:
            print(measure(server, worker, count, options.tokens))


def measure(server: Server, worker: int, count: int, tokens: int) -> str:
    """Run one round; return its line of the table."""
    user = Client(server.port, make_token())
    requests = [request_for(user) for _ in range(count)]
    memory_before, cpu_before = resident_bytes(worker), cpu_seconds(worker)
    readers, memory = run_streams(server.port, requests, worker)
    cpu_s = cpu_seconds(worker) - cpu_before
    broken = [reader for reader in readers if reader.tokens != tokens or COMPLETE not in reader.end]
    if broken:
        sys.exit(f"{len(broken)} of {count} streams are not whole; the last words of one: {broken[0].end!r}")
    first = sorted(reader.first_token_s or 0.0 for reader in readers)
    per_stream = (memory - memory_before) / count / 1024
    return (
        f"{count:7} {cpu_s / count / tokens * 1e6:7.1f} µs"
        f" {percentile(first, 50) * 1000:9.0f} ms {percentile(first, 95) * 1000:9.0f} ms {per_stream:12.1f} KiB"
    )


def request_for(user: Client) -> bytes:
    conversation = user.create_conversation()
    return REQUEST.format(conversation=conversation, token=user.token, length=len(BODY), body=BODY).encode()


def run_streams(port: int, requests: Sequence[bytes], worker: int) -> tuple[list[Reader], int]:
    """Send them all at once and read every stream to its end; return the readers and the most memory that the worker had."""
    selector = selectors.DefaultSelector()
    readers = []
    for request in requests:
        sock = socket.create_connection(("127.0.0.1", port))
        reader = Reader(sock, time.monotonic())
        sock.sendall(request)
        sock.setblocking(False)
        selector.register(sock, selectors.EVENT_READ, reader)
        readers.append(reader)
    open_streams, memory, look_at = len(readers), 0, time.monotonic()
    while open_streams:
        for key, _ in selector.select(1):
            if not key.data.read():
                selector.unregister(key.data.sock)
                key.data.sock.close()
                open_streams -= 1
        if time.monotonic() > look_at:
            memory, look_at = max(memory, resident_bytes(worker)), time.monotonic() + 0.25
    return readers, memory


@contextmanager
def metronome(tokens: int, rate: float) -> Iterator[str]:
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.metronome", f"--port={port}", f"--tokens={tokens}", f"--rate={rate}"]
    process = subprocess.Popen(command)
    try:
        wait_until(lambda: answers(port), "the metronome answers")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


if __name__ == "__main__":
    main()
