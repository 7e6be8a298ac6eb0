"""An archive of history on disk, complete after each batch.

Each batch is a separate gzip member and is flushed to the disk before its rows are deleted. A run that is killed leaves at most
one incomplete member at the end. Its rows were not deleted, and the next run cuts it off.
"""

import fcntl
import os
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from types import TracebackType

# Takes about a third of the time of the default, 6, and a few percent more space.
COMPRESSION_LEVEL = 3
GZIP_WINDOW = 31  # zlib's code for the gzip format
CHUNK_BYTES = 64 * 1024
WRITE_BYTES = 1024 * 1024


class ArchiveProblem(Exception):
    """The archive can't be used; the text says why."""


def problem_with_name(path: Path) -> str:
    """Return why no archive can be written there, as far as its name shows, or an empty text."""
    if not path.name.endswith((".jsonl", ".jsonl.gz")):
        return "its name must end in .jsonl.gz or .jsonl"
    return "" if path.parent.is_dir() else f"there is no folder {path.parent}"


class Archive:
    """A `.jsonl.gz` or `.jsonl` file that batches are appended to; a context manager that holds its lock."""

    def __init__(self, path: Path) -> None:
        if problem := problem_with_name(path):
            raise ArchiveProblem(problem)
        self._path = path
        self._is_compressed = path.suffix == ".gz"
        self._file: FileIO | None = None

    def __enter__(self) -> "Archive":
        try:
            # It contains what users wrote, so only its owner may read it.
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
            # Without a buffer: after a full disk, nothing may be left that is written when the file is closed.
            self._file = FileIO(descriptor, "r+b")
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ArchiveProblem(f"another run is writing {self._path}") from None
            end = (_whole_members_end if self._is_compressed else _whole_lines_end)(self._file)
            # Others may be able to read an existing file.
            os.fchmod(self._file.fileno(), 0o600)
            self._file.truncate(end)
            self._file.seek(end)
            _sync_folder(self._path.parent)
        except (OSError, ArchiveProblem) as failure:
            self.__exit__(None, None, None)
            raise failure if isinstance(failure, ArchiveProblem) else ArchiveProblem(str(failure)) from None
        return self

    def __exit__(self, kind: type[BaseException] | None, failure: BaseException | None, trace: TracebackType | None) -> None:
        if self._file is not None:
            self._file.close()

    @contextmanager
    def batch(self, lines: Iterable[bytes]) -> Iterator[None]:
        """Write a batch of lines to the disk before the block deletes its rows. Remove it again if the block fails.

        Each line has its line end.
        """
        assert self._file is not None
        start = self._file.tell()
        try:
            self._write(_packed(lines) if self._is_compressed else lines)
            os.fsync(self._file.fileno())
            yield
        except BaseException:
            self._file.seek(start)
            self._file.truncate()
            raise

    def _write(self, pieces: Iterable[bytes]) -> None:
        pending = bytearray()
        for piece in pieces:
            pending += piece
            if len(pending) >= WRITE_BYTES:
                self._write_out(pending)
        self._write_out(pending)

    def _write_out(self, pending: bytearray) -> None:
        assert self._file is not None
        # A nearly full disk takes a part and refuses the rest.
        while pending:
            del pending[: self._file.write(pending)]


def _packed(lines: Iterable[bytes]) -> Iterator[bytes]:
    compressor = zlib.compressobj(COMPRESSION_LEVEL, wbits=GZIP_WINDOW)
    for line in lines:
        yield compressor.compress(line)
    yield compressor.flush()


def _whole_members_end(file: FileIO) -> int:
    """Return where the last complete gzip member of a file ends."""
    end = 0
    position = 0
    decompressor = zlib.decompressobj(wbits=GZIP_WINDOW)
    while chunk := file.read(CHUNK_BYTES):
        while chunk:
            try:
                decompressor.decompress(chunk)
            except zlib.error:
                # A killed run does not leave this. Cutting it off could lose the members after it.
                raise ArchiveProblem("the existing file is damaged or not in gzip format; use another name") from None
            rest = decompressor.unused_data
            position += len(chunk) - len(rest)
            if decompressor.eof:
                end = position
                decompressor = zlib.decompressobj(wbits=GZIP_WINDOW)
            chunk = rest
    return end


def _whole_lines_end(file: FileIO) -> int:
    """Return where the last complete line of a file ends."""
    end = 0
    position = 0
    if file.read(2) not in (b"", b"{", b'{"'):
        raise ArchiveProblem("the existing file is not an archive; use another name")
    file.seek(0)
    while chunk := file.read(CHUNK_BYTES):
        if (last := chunk.rfind(b"\n")) >= 0:
            end = position + last + 1
        position += len(chunk)
    return end


def _sync_folder(folder: Path) -> None:
    """Make sure that the file's name also survives a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
