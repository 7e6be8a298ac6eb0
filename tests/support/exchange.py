"""One request to the scripted inference service, and every byte of its response.

A script that waits for something also waits for the client's socket, in one poll(2). So it notices at once when the client
leaves, and a waiting script uses no CPU.
"""

import os
import select
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .waiting import LIMIT_S, wait_until

GONE = select.POLLIN | select.POLLHUP | select.POLLERR


class ClientLeft(Exception):
    """The client closed its connection before the script was over."""


class HangUp(Exception):
    """The script ends by closing the connection, with a TCP reset if `reset`."""

    def __init__(self, *, reset: bool = False) -> None:
        super().__init__()
        self.reset = reset


class Gate:
    """Hold every script that reaches it until the test opens it. It cannot be closed again.

    It is the read end of a pipe, which poll(2) reports as soon as the write end is closed.
    """

    def __init__(self) -> None:
        self._read_fd, self._write_fd = os.pipe()
        self._lock = threading.Lock()
        self._is_open = False
        self._held = 0

    def fileno(self) -> int:
        return self._read_fd

    @property
    def is_open(self) -> bool:
        return self._is_open

    def open(self) -> None:
        """Let all scripts pass, now and later."""
        with self._lock:
            if not self._is_open:
                self._is_open = True
                os.close(self._write_fd)

    def discard(self) -> None:
        """Close the pipe. No script may be waiting."""
        self.open()
        os.close(self._read_fd)

    def count(self, change: int) -> None:
        with self._lock:
            self._held += change

    def wait_held(self, count: int = 1, limit_s: float = LIMIT_S) -> None:
        """Wait until `count` scripts are held here at once."""
        wait_until(lambda: self._held >= count, f"{count} scripts are held at the gate (are: {self._held})", limit_s)


@dataclass(eq=False)
class Call:
    """A request to the service and what happened to it."""

    method: str
    path: str
    headers: dict[str, str]  # names in lower case
    body: dict[str, Any]
    asked_at: float = field(default_factory=time.monotonic)
    tokens_sent: int = 0
    was_cut_at_once: bool = False  # the connection was closed before a byte of the answer
    client_left_at: float | None = None  # time.monotonic(); None: the client stayed to the end
    over: threading.Event = field(default_factory=threading.Event)

    @property
    def messages(self) -> list[dict[str, str]]:
        """The conversation that was sent, oldest first."""
        return list(self.body.get("messages", []))

    @property
    def prompt(self) -> str:
        """The newest question. Earlier ones without an answer come before it in the same message."""
        return self.messages[-1]["content"].rsplit("\n\n", 1)[-1] if self.messages else ""

    def wait_over(self, limit_s: float = LIMIT_S) -> None:
        """Wait until the script has ended or the client has left."""
        assert self.over.wait(limit_s), f"the exchange {self.path} is still open after {limit_s:.0f} s"

    def wait_client_left(self, limit_s: float = LIMIT_S) -> None:
        """Wait until the client has closed this connection. Fail if the script ended first."""
        self.wait_over(limit_s)
        assert self.client_left_at is not None, "the script ran to its end with the client still there"


class Exchange:
    """The response side of a call: steps write to it and wait on it.

    The head is sent with the first byte of the body. A step that waits before that byte delays the head too.
    """

    def __init__(self, sock: socket.socket, call: Call, protocol: str, abort: Gate) -> None:
        self.sock, self.call, self.protocol, self.abort = sock, call, protocol, abort
        self.chunked = True
        self.newline = "\n"
        self.head_sent = False
        self.complete = False

    def send_head(self, status: str = "200 OK", headers: dict[str, str] | None = None) -> None:
        """Send the status line and the headers, once."""
        if self.head_sent:
            return
        self.head_sent = True
        framing = {"Transfer-Encoding": "chunked"} if self.chunked else {"Connection": "close"}
        fields = headers if headers is not None else {"Content-Type": "text/event-stream; charset=utf-8", **framing}
        lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in fields.items())]
        self.send_bytes("\r\n".join([*lines, "", ""]).encode())

    def send_bytes(self, data: bytes) -> None:
        """Send bytes unchanged."""
        try:
            self.sock.sendall(data)
        except OSError as error:
            raise ClientLeft from error

    def write(self, data: bytes) -> None:
        """Send a piece of the body, as one chunk if the response is chunked."""
        self.send_head()
        self.send_bytes(b"%x\r\n%b\r\n" % (len(data), data) if self.chunked else data)
        self.check()

    def write_event(self, payload: str) -> None:
        """Send one whole server-sent event."""
        self.write(f"data: {payload}{self.newline}{self.newline}".encode())

    def finish(self) -> None:
        """End the body: with the last chunk, or by closing the connection."""
        if not self.complete:
            self.complete = True
            self.send_head()
            if not self.chunked:
                raise HangUp
            self.send_bytes(b"0\r\n\r\n")

    def check(self) -> None:
        """Raise ClientLeft or HangUp if this exchange should not go on."""
        self.wait(timeout_s=0)

    def wait(self, gate: Gate | None = None, timeout_s: float | None = None) -> None:
        """Wait until the gate opens, the time is over, the client leaves or the test ends."""
        poll = select.poll()
        poll.register(self.sock, GONE)
        poll.register(self.abort, GONE)
        if gate:
            poll.register(gate, GONE)
            gate.count(+1)
        try:
            ready = {fd for fd, _ in poll.poll(None if timeout_s is None else timeout_s * 1000)}
        finally:
            if gate:
                gate.count(-1)
        if self.sock.fileno() in ready:
            raise ClientLeft
        if self.abort.fileno() in ready:
            raise HangUp

    def wait_read(self) -> None:
        """Wait until the client has read everything sent so far, so that it reads the next piece separately.

        Only Linux shows the length of the other end's receive queue. Elsewhere the client may read pieces together.
        """
        table = Path("/proc/net/tcp")
        if table.exists():
            here, there = self.sock.getsockname(), self.sock.getpeername()
            ends = f"{_hex_address(there)} {_hex_address(here)}"
            wait_until(lambda: _receive_queue(table.read_text(), ends) == 0, "the client has read what was sent")

    def close(self, *, reset: bool = False) -> None:
        """Close the connection."""
        if reset:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def run(self, steps: tuple[Callable[["Exchange"], None], ...]) -> bool:
        """Play the script; True if the connection can serve another request."""
        reusable = is_played = False
        try:
            for step in steps:
                step(self)
            is_played = True
            self.finish()
            reusable = True
        except ClientLeft:
            # A client that has read the end of the reply may leave before the end of the body.
            if not is_played:
                self.call.client_left_at = time.monotonic()
        except HangUp as end:
            self.call.was_cut_at_once = not self.head_sent
            self.close(reset=end.reset)
        self.call.over.set()
        return reusable


def _hex_address(address: tuple[str, int]) -> str:
    (packed,) = struct.unpack("=I", socket.inet_aton(address[0]))
    return f"{packed:08X}:{address[1]:04X}"


def _receive_queue(table: str, ends: str) -> int:
    """Read the receive queue's length from /proc/net/tcp; 0 if the connection is gone."""
    for line in table.splitlines():
        if ends in line:
            return int(line.split()[4].split(":")[1], 16)
    return 0
