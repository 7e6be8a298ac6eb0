"""Clients that start streams all at once and read them to their ends, for little CPU time.

One thread, one `epoll`, one buffer. A token is counted by the brace that its JSON object begins with: the metronome's words
have none, and a single byte can't be split over two reads. Nothing is parsed.
"""

import contextlib
import os
import select
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from benchmarks.measuring import LOAD_PROCESSORS, cpu_seconds, idle_seconds, percentile

BUFFER = bytearray(1 << 18)
BRACE = ord("{")
# The `done` event of our service, and of a relay that passes on the inference service's own.
ENDS = (b'"status":"complete"', b'"done": true', b'"done":true')
# What can hold those words and still be the end of a stream.
TAIL_BYTES = 400
SAMPLE_S = 0.25
# How many streams begin between two looks at those that run.
STARTS = 20
# A stream that says nothing this long is broken.
SILENCE_LIMIT_S = 60.0
BOTTLENECK = 0.85


class Reader:
    """One stream: when it began, and what of it was counted."""

    __slots__ = (
        "began_at",
        "ended_at",
        "first_at",
        "is_accepted",
        "last_at",
        "longest_gap_s",
        "sock",
        "tail",
        "texts",
        "tokens",
    )

    def __init__(self, sock: socket.socket, began_at: float) -> None:
        self.sock, self.began_at = sock, began_at
        self.first_at = self.last_at = self.longest_gap_s = 0.0
        # How often text came: one read can hold several tokens.
        self.texts = self.tokens = 0
        self.is_accepted: bool | None = None
        self.tail = b""

    def take(self, count: int, now: float) -> None:
        """Count what was just read into the buffer."""
        if self.is_accepted is None:
            self.is_accepted = BUFFER.startswith(b"HTTP/1.1 200")
        if tokens := BUFFER.count(BRACE, 0, count):
            self.tokens += tokens
            self.texts += 1
            if self.first_at:
                self.longest_gap_s = max(self.longest_gap_s, now - self.last_at)
            else:
                self.first_at = now
            self.last_at = now
        if count >= TAIL_BYTES:
            self.tail = bytes(BUFFER[count - TAIL_BYTES : count])
        else:
            self.tail = self.tail[count - TAIL_BYTES :] + BUFFER[:count]

    @property
    def is_complete(self) -> bool:
        return bool(self.is_accepted) and any(end in self.tail for end in ENDS)


@dataclass(frozen=True)
class Streams:
    """How a round of streams went."""

    tokens_asked: int
    wall_s: float
    readers: list[Reader] = field(repr=False)
    # Of one processor: what this process and the inference service took, and how busy their processors were in all.
    generator_share: float
    busy_share: float

    @property
    def refused(self) -> int:
        return sum(not reader.is_accepted for reader in self.readers)

    @property
    def broken(self) -> list[Reader]:
        """Streams that began and are not whole. The `done` event has a brace, too."""
        accepted = [reader for reader in self.readers if reader.is_accepted]
        return [reader for reader in accepted if reader.tokens != self.tokens_asked + 1 or not reader.is_complete]

    def first_token_s(self, percent: int) -> float:
        accepted = sorted(
            reader.first_at - reader.began_at for reader in self.readers if reader.first_at and reader.is_accepted
        )
        return percentile(accepted, percent) if accepted else float("nan")

    def texts_per_s(self, percent: int) -> float:
        """Return how often text came on a stream, as a percentile of the streams."""
        streams = [reader for reader in self.readers if reader.is_accepted and reader.last_at > reader.first_at]
        rates = sorted(reader.texts / (reader.last_at - reader.first_at) for reader in streams)
        return percentile(rates, percent) if rates else float("nan")

    def longest_gap_s(self, percent: int) -> float:
        gaps = sorted(reader.longest_gap_s for reader in self.readers if reader.is_accepted)
        return percentile(gaps, percent) if gaps else float("nan")

    def pace(self, rate: int, percent: int) -> float:
        """Return how fast replies were beside real time, from send to end, as a percentile: 1 is as fast as the tokens come."""
        whole = [reader for reader in self.readers if reader.is_complete and reader.last_at > reader.began_at]
        paces = sorted(self.tokens_asked / rate / (reader.last_at - reader.began_at) for reader in whole)
        return percentile(paces, percent) if paces else 0.0

    def last_words(self) -> bytes:
        """Return the end of what a stream said that was refused or broke."""
        failed = self.broken or [reader for reader in self.readers if not reader.is_accepted]
        return failed[0].tail if failed else b""


def run_streams(
    port: int,
    requests: Sequence[bytes],
    tokens: int,
    generators: Sequence[int] = (),
    sample: Callable[[], object] = lambda: None,
    spread_s: float = 0.0,
) -> Streams:
    """Send all requests, at once or evenly over `spread_s` seconds, and read every stream to its end.

    `generators` are the other processes whose cost is load, not service. `sample` is called four times a second.
    """
    load = (os.getpid(), *generators)
    cpu, idle = cpu_seconds(*load), idle_seconds(LOAD_PROCESSORS)
    epoll = select.epoll()
    by_descriptor: dict[int, Reader] = {}
    readers: list[Reader] = []
    began_at = sample_at = heard_at = time.monotonic()
    while by_descriptor or len(readers) < len(requests):
        now = time.monotonic()
        due = len(requests) if not spread_s else min(len(requests), int((now - began_at) / spread_s * len(requests)) + 1)
        for request in requests[len(readers) : min(due, len(readers) + STARTS)]:
            readers.append(_start(port, request, epoll, by_descriptor))
        if len(readers) == len(requests):
            wait_s = SAMPLE_S
        elif len(readers) < due:
            wait_s = 0.0
        else:
            wait_s = max(0.0, began_at + len(readers) * spread_s / len(requests) - time.monotonic())
        if _read(epoll, wait_s, by_descriptor):
            heard_at = now
        elif now - heard_at > SILENCE_LIMIT_S:
            break
        if now >= sample_at:
            sample()
            sample_at = now + SAMPLE_S
    for reader in by_descriptor.values():
        reader.sock.close()
    epoll.close()
    wall_s = time.monotonic() - began_at
    busy_share = 1 - (idle_seconds(LOAD_PROCESSORS) - idle) / wall_s / len(LOAD_PROCESSORS)
    return Streams(tokens, wall_s, readers, (cpu_seconds(*load) - cpu) / wall_s, busy_share)


def _start(port: int, request: bytes, epoll: select.epoll, by_descriptor: dict[int, Reader]) -> Reader:
    began_at = time.monotonic()
    sock = socket.create_connection(("127.0.0.1", port))
    sock.sendall(request)
    sock.setblocking(False)
    reader = by_descriptor[sock.fileno()] = Reader(sock, began_at)
    epoll.register(sock.fileno(), select.EPOLLIN)
    return reader


def _read(epoll: select.epoll, wait_s: float, by_descriptor: dict[int, Reader]) -> int:
    events = epoll.poll(wait_s, 1024)
    for descriptor, _ in events:
        reader = by_descriptor[descriptor]
        count = 0
        with contextlib.suppress(OSError):
            count = reader.sock.recv_into(BUFFER)
        now = time.monotonic()
        if count:
            reader.take(count, now)
        else:
            epoll.unregister(descriptor)
            del by_descriptor[descriptor]
            reader.sock.close()
    return len(events)
