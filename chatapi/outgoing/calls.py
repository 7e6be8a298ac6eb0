"""One outgoing call's hold on what it waits for, so that a deadline or another thread can end it at every stage.

A call that waits can't be interrupted from outside: closing its response from another thread fails, and before the response's
headers there is nothing to close. Shutting down the socket works at every stage and in every kind of thread. So a connection
hands its socket to the call that uses it as soon as it has one, and takes it back before it returns to its pool: from then on
the socket may serve another call. Before there is a socket, the call waits for an event, which its end sets.
"""

import contextlib
import functools
import socket
import threading
import time
from collections.abc import Callable
from contextvars import ContextVar, Token

from chatapi.deadlines import Deadline

# A kept connection that says nothing for this share of a call's time is given up for a fresh one. A service that is merely slow
# would have to begin again, so it gets several times as long as it lately took.
SILENT_SHARE = 4
TIMES_AS_LONG = 3
SLOWEST_FADES = 0.9

_current: ContextVar["Call | None"] = ContextVar("outbound_call", default=None)


def current_call() -> "Call | None":
    """Return the call that this thread is making."""
    return _current.get()


class Patience:
    """How long a kept connection may be silent before the answer begins, by how long the service lately took."""

    def __init__(self) -> None:
        self._slowest_s = 0.0

    def seconds(self, limit_s: float) -> float:
        return max(limit_s / SILENT_SHARE, TIMES_AS_LONG * self._slowest_s)

    def note(self, seconds: float) -> None:
        self._slowest_s = max(seconds, SLOWEST_FADES * self._slowest_s)


@functools.lru_cache(maxsize=64)
def patience_with(url: str) -> Patience:
    """Return what this process has learnt of the service at an address."""
    return Patience()


class Call:
    """One call. In its `with` block connections of this thread belong to it.

    `patience` is given for calls that may be repeated: where a kept connection is silent for too long, it is shut down, and
    `is_silent` says so. `may_connect` is asked for each address (an IP address as text) before a connection is made to it.
    """

    def __init__(
        self, deadline_s: float, patience: Patience | None = None, may_connect: Callable[[str], bool] = lambda _: True
    ) -> None:
        self._patience = patience
        self.may_connect = may_connect
        self._limit_s = deadline_s
        self._asked_at = 0.0
        self._silence: Deadline | None = None
        self.is_silent = False
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
        self._forget_silence()
        self.detach()

    def attach(self, sock: socket.socket) -> None:
        """Take a socket over from its connection. Raises `ConnectionAbortedError` where the call has ended meanwhile."""
        with self._lock:
            self._check()
            self._socket = sock

    def note_request(self, *, over_kept: bool) -> None:
        """Hear that a request goes out, over a connection that was kept or over a new one."""
        self._forget_silence()
        self._asked_at = time.monotonic()
        if over_kept and self._patience is not None:
            with self._lock:
                self._silence = Deadline(self._asked_at + self._patience.seconds(self._limit_s), self._cut_silent)

    def note_response(self) -> None:
        """Hear that the answer has begun."""
        self._forget_silence()
        if self._patience is not None:
            self._patience.note(time.monotonic() - self._asked_at)

    def _forget_silence(self) -> None:
        with self._lock:
            if self._silence is not None:
                self._silence.cancel()
                self._silence = None

    def _cut_silent(self) -> None:
        with self._lock:
            if self._silence is not None:
                self._silence = None
                self.is_silent = True
                self._interrupt()

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
