"""An archive of history on disk, complete after each batch.

Each batch is a separate gzip member and is flushed to the disk before its rows are deleted. A run that is killed leaves at most
one incomplete member at the end. Its rows were not deleted, and the next run cuts it off.

The trailer (see `seals`) is the last member. A run cuts it off, continues the section and writes a new one. So a copy
of the file that ends too early has no trailer, wherever it was cut.
"""

import fcntl
import os
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from types import TracebackType

from conversations.services.history.files.archive_file_ends import (
    GZIP_WINDOW,
    ArchiveProblem,
    End,
    last_line_end,
    last_member_end,
)
from conversations.services.history.files.seals import HEADER, Section

# Takes about a third of the time of the default, 6, and a few percent more space.
COMPRESSION_LEVEL = 3
WRITE_BYTES = 1024 * 1024


def problem_with_name(path: Path) -> str:
    """Return why no archive can be written there, as far as its name shows, or an empty text."""
    if not path.name.endswith((".jsonl", ".jsonl.gz")):
        return "its name must end in .jsonl.gz or .jsonl"
    return "" if path.parent.is_dir() else f"there is no folder {path.parent}"


class ArchiveFile:
    """A `.jsonl.gz` or `.jsonl` file that batches are appended to; a context manager that holds its lock."""

    def __init__(self, path: Path) -> None:
        if problem := problem_with_name(path):
            raise ArchiveProblem(problem)
        self._path = path
        self._is_compressed = path.suffix == ".gz"
        self._file: FileIO | None = None
        self._section: Section | None = None
        # An earlier run was killed, or somebody cut the file.
        self.had_no_end = False

    def __enter__(self) -> "ArchiveFile":
        try:
            # It contains what users wrote, so only its owner may read it.
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
            # Without a buffer: after a full disk, nothing may be left that is written when the file is closed.
            self._file = FileIO(descriptor, "r+b")
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ArchiveProblem(f"another run is writing {self._path}") from None
            # Another run may have put a new file in its place (`scrub`) between these two steps.
            if not os.path.samestat(os.fstat(descriptor), self._path.stat()):
                raise ArchiveProblem(f"another run has just replaced {self._path}")
            end = (last_member_end if self._is_compressed else last_line_end)(self._file)
            # Others may be able to read an existing file.
            os.fchmod(self._file.fileno(), 0o600)
            self._file.truncate(end.position)
            self._file.seek(end.position)
            self._begin(end)
            sync_folder(self._path.parent)
        except (OSError, ArchiveProblem) as failure:
            self.__exit__(None, None, None)
            raise failure if isinstance(failure, ArchiveProblem) else ArchiveProblem(str(failure)) from None
        return self

    def __exit__(self, kind: type[BaseException] | None, failure: BaseException | None, trace: TracebackType | None) -> None:
        if self._file is None:
            return
        try:
            if self._section is not None:
                # Also after a failure: what is in the archive is whole. A batch that did not fit has left its space free.
                with self._appending(self._packed([self._section.trailer()])):
                    pass
        except OSError as problem:
            if failure is None:
                raise ArchiveProblem(str(problem)) from None
        finally:
            self._file.close()

    def _begin(self, end: End) -> None:
        if end.section is None:
            with self._appending(self._packed([HEADER])):
                pass
        self.had_no_end = end.section is not None and not end.has_trailer
        self._section = end.section or Section()

    @contextmanager
    def batch(self, lines: Iterable[bytes]) -> Iterator[None]:
        """Write a batch of lines to the disk before the block deletes its rows. Remove it again if the block fails.

        Each line has its line end.
        """
        assert self._section is not None
        before = self._section.copy()
        try:
            with self._appending(self._packed(self._counted(lines))):
                yield
        except BaseException:
            self._section = before
            raise

    def _counted(self, lines: Iterable[bytes]) -> Iterator[bytes]:
        assert self._section is not None
        for line in lines:
            self._section.add(line)
            yield line

    @contextmanager
    def _appending(self, pieces: Iterable[bytes]) -> Iterator[None]:
        assert self._file is not None
        start = self._file.tell()
        try:
            self._write(pieces)
            os.fsync(self._file.fileno())
            yield
        except BaseException:
            self._file.seek(start)
            self._file.truncate()
            raise

    def _packed(self, lines: Iterable[bytes]) -> Iterable[bytes]:
        return _packed(lines) if self._is_compressed else lines

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


def sync_folder(folder: Path) -> None:
    """Make sure that the file's name also survives a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
