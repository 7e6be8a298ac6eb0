"""Waiting for sockets in gevent's event loop, with less work than gevent and psycopg do for each wait."""

import select
from collections.abc import Callable, Generator
from typing import Any

import gevent
import gevent.socket
from gevent.monkey import get_original

# The same numbers in psycopg (`Wait` and `Ready`) and in gevent.
READABLE, WRITABLE = 1, 2
Wait = Callable[..., Any]


def receive_when_ready(sock: gevent.socket.socket, size: int) -> bytes:
    """Wait until a socket has bytes or has ended, then read. gevent's `recv` reads first, and in a stream mostly in vain."""
    gevent.get_hub().wait(sock._read_event)
    data: bytes = sock._sock.recv(size)
    return data


def database_wait(patient_wait: Wait) -> Wait:
    """Return what psycopg waits with for its sockets, instead of `patient_wait`, its own function.

    That one makes a poll object and a timer for every wait, and has the event loop look whether a socket is writable, which one
    almost always is. `patient_wait` still serves the rare waits that have a time limit.
    """
    poll = get_original("select", "poll")

    def wait(generator: Generator[int, int, Any], fileno: int, interval: float = 0.0, timeout: float | None = None) -> Any:
        if timeout is not None:
            return patient_wait(generator, fileno, interval, timeout)
        try:
            wanted = next(generator)
            while True:
                wanted = generator.send(wait_until_ready(fileno, wanted))
        except StopIteration as end:
            return end.value

    def wait_until_ready(fileno: int, wanted: int) -> int:
        if not wanted & WRITABLE:
            wait_in_loop(fileno, wanted)
            return READABLE
        while not (ready := what_is_ready(fileno, wanted)):
            wait_in_loop(fileno, wanted)
        return ready

    def what_is_ready(fileno: int, wanted: int) -> int:
        poller = poll()
        poller.register(fileno, (select.POLLIN if wanted & READABLE else 0) | select.POLLOUT)
        found = poller.poll(0)
        if not found:
            return 0
        event = found[0][1]
        # A broken connection counts as ready for everything: psycopg then finds the failure.
        is_broken = event & ~(select.POLLIN | select.POLLOUT)
        return wanted if is_broken else (event & select.POLLIN and READABLE) | (event & select.POLLOUT and WRITABLE)

    def wait_in_loop(fileno: int, wanted: int) -> None:
        hub = gevent.get_hub()
        watcher = hub.loop.io(fileno, wanted)
        try:
            hub.wait(watcher)
        finally:
            watcher.close()

    return wait
