"""Deadlines for slow clients: when the time is up, the client's socket is shut down."""

import contextlib
import logging
import socket
import time

from chatapi.deadlines import Deadline

logger = logging.getLogger(__name__)


class ClientDeadline:
    """Shut a client's socket down after `seconds`, unless lifted before. `how` is as in `socket.shutdown`.

    A thread that reads or writes the socket then sees its end; nothing else interrupts it. The log names the purpose.
    """

    def __init__(self, sock: socket.socket, seconds: float, purpose: str, how: int = socket.SHUT_RDWR) -> None:
        self.is_over = False
        self._socket = sock
        self._purpose = purpose
        self._how = how
        self._deadline = Deadline(time.monotonic() + seconds, self._shut_down)

    def lift(self) -> None:
        self._deadline.cancel()

    def end_now(self) -> None:
        """Don't wait any longer."""
        self._deadline.cancel()
        self._shut_down()

    def _shut_down(self) -> None:
        self.is_over = True
        logger.info("client too slow", extra={"error": self._purpose})
        with contextlib.suppress(OSError):
            # Not the method of a TLS socket: it would make the reader continue without decryption.
            socket.socket.shutdown(self._socket, self._how)
