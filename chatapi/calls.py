"""One outgoing call's hold on what it waits for, so that a deadline or another thread can end it at every stage.

A call that waits can't be interrupted from outside: closing its response from another thread fails, and before the response's
headers there is nothing to close. Shutting down the socket works at every stage and in every kind of thread. So a connection
hands its socket to the call that uses it as soon as it has one, and takes it back before it returns to its pool: from then on
the socket may serve another call. Before there is a socket, the call waits for an event, which its end sets.
"""

import contextlib
import socket
import threading
import time
from contextvars import ContextVar, Token

from chatapi.deadlines import Deadline

_current: ContextVar["Call | None"] = ContextVar("outbound_call", default=None)


def current_call() -> "Call | None":
    """Return the call that this thread is making."""
    return _current.get()


class Call:
    """One call. In its `with` block connections of this thread belong to it."""

    def __init__(self, deadline_s: float) -> None:
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._event: threading.Event | None = None
        self._token: Token[Call | None] | None = None
        self.is_cut = False
        self.is_late = False
        self.deadline = Deadline(time.monotonic() + deadline_s, self._cut_late)

    def __enter__(self) -> "Call":
        self._token = _current.set(self)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._token is not None
        _current.reset(self._token)

    def cut(self) -> None:
        """End the call from any thread: its reader gets the end of the stream or a failure at once."""
        with self._lock:
            self.is_cut = True
            self._interrupt()

    def finish(self) -> None:
        """Let go of socket and deadline: neither a cut nor the clock can do anything from here on."""
        self.deadline.cancel()
        self.detach()

    def attach(self, sock: socket.socket) -> None:
        """Take a socket over from its connection. Raises `ConnectionAbortedError` where the call has ended meanwhile."""
        with self._lock:
            self._check()
            self._socket = sock

    def detach(self) -> None:
        """Give the socket back."""
        with self._lock:
            self._socket = None

    def wait(self, event: threading.Event, timeout_s: float | None) -> None:
        """Wait for an event, which the end of the call sets too. Raises `ConnectionAbortedError` where the call has ended."""
        with self._lock:
            self._check()
            self._event = event
        try:
            event.wait(timeout_s)
        finally:
            with self._lock:
                self._event = None
        self._check()

    @property
    def has_ended(self) -> bool:
        """Whether it was cut, or its deadline has passed."""
        return self.is_cut or self.is_late

    def _check(self) -> None:
        if self.has_ended:
            raise ConnectionAbortedError("the call was cut")

    def _cut_late(self) -> None:
        with self._lock:
            self.is_late = True
            self._interrupt()

    def _interrupt(self) -> None:
        if self._event is not None:
            self._event.set()
        if self._socket is not None:
            with contextlib.suppress(OSError):
                # Not the method of a TLS socket, which would have its reader go on without decrypting.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
