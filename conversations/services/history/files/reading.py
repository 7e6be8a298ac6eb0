"""Read the lines of an export or an archive, and find out whether the file is whole."""

import gzip
import io
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from conversations.services.history.files.seals import Condition, SealReader, UnknownVersion

STANDARD_INPUT = "-"
GZIP_BEGINNING = b"\x1f\x8b"
# Ten times the longest reply. A few kilobytes of gzip can contain a line of a gigabyte.
MAX_LINE_BYTES = 16 * 1024 * 1024
LINES_PER_REPORT = 2000

Line = tuple[int, bytes]


class ImportProblem(Exception):
    """The file can't be imported. The text says why and never quotes a row."""


@dataclass(slots=True)
class Inspection:
    """What a file has, as far as it was read."""

    conversations: int = 0
    messages: int = 0
    condition: Condition = Condition.CUT
    is_complete: bool = False


class HistoryLines:
    """The rows of a file with the numbers of their lines. Iterate once, then ask for the condition. Raises `ImportProblem`."""

    def __init__(self, source: BinaryIO) -> None:
        self._source = source
        self.seals = SealReader()
        # The file ends within a line or within compressed data.
        self.is_torn = False
        self._is_damaged = False

    @property
    def condition(self) -> Condition:
        return Condition.CHANGED if self._is_damaged else self.seals.condition(is_torn=self.is_torn)

    def __iter__(self) -> Iterator[Line]:
        number = 0
        try:
            while line := self._source.readline(MAX_LINE_BYTES):
                number += 1
                if not line.endswith(b"\n"):
                    if len(line) == MAX_LINE_BYTES:
                        raise ImportProblem(f"line {number} is longer than {MAX_LINE_BYTES // 2**20} MiB")
                    self.is_torn = True
                    return
                if self.seals.read(line):
                    yield number, line
        except EOFError:
            self.is_torn = True
        except (gzip.BadGzipFile, zlib.error):
            # A cut after the first byte of a gzip member is this too.
            self._is_damaged = True
        except UnknownVersion:
            raise ImportProblem("a newer version of this service wrote the file") from None


def can_be_read_twice(name: str) -> bool:
    """Return whether it is neither standard input nor a pipe."""
    return name != STANDARD_INPUT and not Path(name).is_fifo()


@contextmanager
def import_file(name: str) -> Iterator[BinaryIO]:
    """Open a file to import, compressed or not. `-` is standard input."""
    if name == STANDARD_INPUT:
        yield unpacked(_from_beginning(sys.stdin.buffer))
        return
    with Path(name).open("rb") as raw:
        yield unpacked(raw)


def inspect_file(
    name: str,
    *,
    should_stop: Callable[[], bool] = lambda: False,
    on_lines: Callable[[Inspection], None] = lambda inspection: None,
) -> Inspection:
    """Read a file to its end without using the database. Raises `ImportProblem`."""
    inspection = Inspection()
    with import_file(name) as source:
        lines = HistoryLines(source)
        for count, _ in enumerate(lines):
            if count % LINES_PER_REPORT == 0:
                _update(inspection, lines)
                on_lines(inspection)
                if should_stop():
                    return inspection
        _update(inspection, lines)
        inspection.is_complete = True
    return inspection


def _update(inspection: Inspection, lines: HistoryLines) -> None:
    inspection.conversations, inspection.messages = lines.seals.conversations, lines.seals.messages
    inspection.condition = lines.condition


def unpacked(raw: io.BufferedReader) -> BinaryIO:
    """Return what reads the lines of a file, compressed or not, from where it is."""
    is_compressed = raw.peek(len(GZIP_BEGINNING)).startswith(GZIP_BEGINNING)
    return cast(BinaryIO, gzip.GzipFile(fileobj=raw, mode="rb")) if is_compressed else raw


def _from_beginning(stream: BinaryIO) -> io.BufferedReader:
    """Return a reader whose `peek` shows the first bytes, also of a pipe that delivers them one by one."""
    return io.BufferedReader(_Prefixed(stream.read(len(GZIP_BEGINNING)), stream))


class _Prefixed(io.RawIOBase):
    """Bytes that were read already, followed by the rest of their stream."""

    def __init__(self, beginning: bytes, rest: BinaryIO) -> None:
        self._beginning = beginning
        self._rest = rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "memoryview") -> int:  # type: ignore[override]
        size = len(buffer)
        piece = self._beginning[:size] or self._rest.read1(size)  # type: ignore[attr-defined]
        self._beginning = self._beginning[size:]
        buffer[: len(piece)] = piece
        return len(piece)
