"""A receiver of webhooks, which answers as a test says."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from tests.support.waiting import wait_until


class Received(NamedTuple):
    """A request. The names of headers are in lower case."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def event(self) -> dict[str, Any]:
        event: dict[str, Any] = json.loads(self.body)
        return event


# Gets the request and says what is sent: bytes, or None for a connection that is closed without a word.
Answer = Callable[[Received], bytes | None]


def status(number: int, *headers: str, body: bytes = b"") -> Answer:
    """Answer with this status and these header lines."""
    head = [f"HTTP/1.1 {number} x", *headers, f"Content-Length: {len(body)}", "", ""]
    return lambda _: "\r\n".join(head).encode() + body


class Receiver:
    """What came, and the answer to what comes."""

    def __init__(self) -> None:
        self.answer: Answer = status(204)
        self.received: list[Received] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                request = Received(self.path, {name.lower(): value for name, value in self.headers.items()}, body)
                outer.received.append(request)
                said = outer.answer(request)
                self.close_connection = said is None
                if said is not None:
                    self.wfile.write(said)

            def do_GET(self) -> None:
                outer.received.append(Received(f"GET {self.path}", {}, b""))
                self.send_error(404)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook?key=1"

    def kinds(self) -> list[str]:
        return [request.event["type"] for request in self.received]

    def wait_for(self, count: int) -> list[Received]:
        """Wait until this many requests came, and return all."""
        wait_until(lambda: len(self.received) >= count, f"{count} webhooks")
        return list(self.received)


@contextmanager
def running_receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    thread = threading.Thread(target=receiver._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        receiver._server.shutdown()
        receiver._server.server_close()
        thread.join()
