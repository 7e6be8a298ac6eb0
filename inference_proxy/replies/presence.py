"""Whether a reply's clients are still there.

A client that left is noticed only at the second write after it went, and a silent stream writes every 15 s. Its socket tells
at once.
"""

import contextlib
import socket
from collections.abc import Callable
from typing import Any

# Whether the client of a follower is connected.
Presence = Callable[[], bool]


def always_present() -> bool:
    return True


def is_connected(sock: Any) -> bool:
    """Tell whether the client at the other end of a server's socket has not closed the connection. Reads nothing, never waits.

    True where it can't be told: without a socket, or of a TLS connection, which can't be looked into without reading.
    """
    if sock is None:
        return True
    timeout = sock.gettimeout()
    try:
        # The flag MSG_DONTWAIT would not do: gevent's sockets wait by themselves.
        sock.settimeout(0)
        return bool(sock.recv(1, socket.MSG_PEEK))
    except (BlockingIOError, ValueError):
        return True
    except OSError:
        return False
    finally:
        with contextlib.suppress(OSError):
            sock.settimeout(timeout)
