"""Deadlines for what a client sends and reads: its socket is shut down when the time is over."""

import contextlib
import logging
import socket
import time

from chatapi.deadlines import Deadline

logger = logging.getLogger(__name__)


class ClientDeadline:
    """Shut a client's socket down in so many seconds, unless lifted before; `how` as in `socket.shutdown`.

    Who reads or writes the socket then finds its end; its thread is interrupted in nothing else. The log names the purpose.
    """

    def __init__(self, sock: socket.socket, seconds: float, purpose: str, how: int = socket.SHUT_RDWR) -> None:
        self.is_over = False
        self._socket = sock
        self._purpose = purpose
        self._how = how
        self._deadline = Deadline(time.monotonic() + seconds, self._shut_down)

    def lift(self) -> None:
        self._deadline.cancel()

    def _shut_down(self) -> None:
        self.is_over = True
        logger.info("client too slow", extra={"error": self._purpose})
        with contextlib.suppress(OSError):
            # Not the method of a TLS socket, which would have its reader go on without decrypting.
            socket.socket.shutdown(self._socket, self._how)
