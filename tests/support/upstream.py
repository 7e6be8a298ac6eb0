"""A scripted inference service: real HTTP/1.1 on raw sockets, one thread per connection.

It speaks both protocols, records every call, and plays the test's script for it. Without a script it echoes the newest
message word by word.
"""

import contextlib
import io
import json
import re
import select
import socket
import threading
from collections.abc import Iterator
from http.client import parse_headers

from .exchange import Call, Exchange, Gate
from .steps import Step, reply, respond
from .waiting import LIMIT_S, wait_until

MODELS = {
    "current_model": "tiny",
    "models": [
        {"model_tag": "tiny", "source": "local", "path": "/models/tiny", "loaded": True},
        {"model_tag": "large", "source": "local", "path": "/models/large", "loaded": False},
    ],
}
OPENAI_MODELS = {"object": "list", "data": [{"id": "tiny", "object": "model"}, {"id": "large", "object": "model"}]}
PROTOCOLS = {"/generate": "nanochat", "/v1/chat/completions": "openai"}


class ScriptedUpstream:
    """The service; a context manager that serves while it is open."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self._lock = threading.Lock()
        self._scripts: list[tuple[str, tuple[Step, ...]]] = []
        self._gates: list[Gate] = []
        self._abort = Gate()
        self._connections: set[socket.socket] = set()
        self._listener: socket.socket | None = None
        self._closing: Gate | None = None
        self._acceptor: threading.Thread | None = None
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    # What a test calls

    def script(self, *steps: Step, when: str = "") -> None:
        """Play these steps for calls whose newest question contains `when`. The latest script that matches is played."""
        with self._lock:
            self._scripts.append((when, steps))

    def gate(self) -> Gate:
        """Make a gate for this test."""
        gate = Gate()
        self._gates.append(gate)
        return gate

    def generations(self, containing: str = "") -> list[Call]:
        """List the calls for replies whose newest message contains this text, oldest first."""
        with self._lock:
            return [call for call in self.calls if "messages" in call.body and containing in call.prompt]

    def wait_call(self, containing: str = "", limit_s: float = LIMIT_S) -> Call:
        """Wait for a call for a reply. Return the latest."""
        return wait_until(lambda: self.generations(containing), f"a call with {containing!r}", limit_s)[-1]

    def reset(self) -> None:
        """Forget scripts and calls, and end the running ones."""
        self._abort.open()
        for call in list(self.calls):
            call.wait_over()
        for gate in [*self._gates, self._abort]:
            gate.discard()
        with self._lock:
            self._gates, self._scripts, self.calls = [], [], []
            self._abort = Gate()

    @contextlib.contextmanager
    def away(self) -> Iterator[None]:
        """Refuse connections during the block, as a service that is down does."""
        self._close()
        try:
            yield
        finally:
            self._open()

    # The server

    def __enter__(self) -> "ScriptedUpstream":
        self._open()
        return self

    def __exit__(self, *_: object) -> None:
        self.reset()
        self._close()
        self._abort.discard()

    def _open(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=1024)
        self.port = self._listener.getsockname()[1]
        self._closing = Gate()
        self._acceptor = threading.Thread(
            target=self._accept, args=(self._listener, self._closing), name="upstream", daemon=True
        )
        self._acceptor.start()

    def _close(self) -> None:
        assert self._closing and self._acceptor and self._listener
        self._closing.open()
        self._acceptor.join()
        self._listener.close()
        self._closing.discard()
        with self._lock:
            connections = list(self._connections)
        for sock in connections:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        wait_until(lambda: not self._connections, "the upstream's connections are closed")

    def _accept(self, listener: socket.socket, closing: Gate) -> None:
        poll = select.poll()
        poll.register(listener, select.POLLIN)
        poll.register(closing, select.POLLIN | select.POLLHUP)
        while closing.fileno() not in {fd for fd, _ in poll.poll()}:
            sock, _ = listener.accept()
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._connections.add(sock)
            threading.Thread(target=self._serve, args=(sock,), name="upstream-connection", daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        try:
            with sock, sock.makefile("rb") as requests:
                while (call := _read_call(requests)) and self._answer(sock, call):
                    pass
        except OSError:
            pass  # the client reset an idle connection
        finally:
            with self._lock:
                self._connections.discard(sock)

    def _answer(self, sock: socket.socket, call: Call) -> bool:
        with self._lock:
            self.calls.append(call)
            steps, abort = self._steps_for(call), self._abort
        return Exchange(sock, call, PROTOCOLS.get(call.path, "nanochat"), abort).run(steps)

    def _steps_for(self, call: Call) -> tuple[Step, ...]:
        if "messages" in call.body:
            for when, steps in reversed(self._scripts):
                if when in call.prompt:
                    return steps
            return reply(re.findall(r"\s*\S+", call.prompt))
        answers = {
            "GET /models": ("200 OK", MODELS),
            "GET /v1/models": ("200 OK", OPENAI_MODELS),
            "POST /models/swap": ("202 Accepted", {"status": "swapping", "current_model": call.body.get("model_tag")}),
        }
        status, body = answers.get(f"{call.method} {call.path}", ("404 Not Found", {"detail": "no such path"}))
        return (respond(status, json.dumps(body).encode()),)


def _read_call(requests: io.BufferedReader) -> Call | None:
    """Read the next request of a connection. Return None if the client has closed it."""
    request_line = requests.readline()
    if not request_line:
        return None
    method, path, _ = request_line.decode("latin-1").split()
    headers = {name.lower(): value for name, value in parse_headers(requests).items()}
    body = requests.read(int(headers.get("content-length", 0)))
    return Call(method, path, headers, json.loads(body) if body else {})
