"""Where an existing archive can be continued: behind its last complete batch, in place of its trailer."""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from io import FileIO

from conversations.services.history.files.seals import TRAILER_BEGINNING, SealReader, Section, UnknownVersion

GZIP_WINDOW = 31  # zlib's code for the gzip format
CHUNK_BYTES = 64 * 1024
# Longer than any line that an import accepts.
MAX_LINE_BYTES = 32 * 1024 * 1024


class ArchiveProblem(Exception):
    """The archive can't be used; the text says why."""


NOT_AN_ARCHIVE = ArchiveProblem("the existing file is not an archive; use another name")


@dataclass(frozen=True, slots=True)
class End:
    """The position at which to go on, and the section to continue there, if any."""

    position: int = 0
    section: Section | None = None
    has_trailer: bool = False


class _Lines:
    """Split pieces of text into lines and follow them."""

    def __init__(self) -> None:
        self.seals = SealReader()
        self.rest = b""
        # Since the last call of `end_member`.
        self._count = 0
        self._before_trailer: Section | None = None

    def feed(self, piece: bytes) -> Iterator[int]:
        """Follow the complete lines; yield the length of each."""
        *lines, self.rest = (self.rest + piece).split(b"\n")
        if len(self.rest) > MAX_LINE_BYTES:
            raise NOT_AN_ARCHIVE
        for line in lines:
            self._follow(line + b"\n")
            yield len(line) + 1

    def end_member(self, start: int, end: int) -> End:
        """Return where to go on after a member or line between these positions."""
        is_trailer = self._count == 1 and self._before_trailer is not None
        found = End(start, self._before_trailer, True) if is_trailer else End(end, self.seals.section)
        self._count = 0
        return found

    def _follow(self, line: bytes) -> None:
        self._count += 1
        is_trailer = line.startswith(TRAILER_BEGINNING)
        self._before_trailer = self.seals.section if is_trailer else None
        try:
            self.seals.read(line)
        except UnknownVersion:
            raise ArchiveProblem("a newer version of this service wrote the existing file; use another name") from None
        if self.seals.is_changed:
            # A new trailer would call it whole.
            raise ArchiveProblem("the existing file was changed since it was written; use another name")


def last_member_end(file: FileIO) -> End:
    """Find the end of the last complete gzip member."""
    found = End()
    lines = _Lines()
    position = 0
    start = 0
    decompressor = zlib.decompressobj(wbits=GZIP_WINDOW)
    while chunk := file.read(CHUNK_BYTES):
        while chunk:
            try:
                text = decompressor.decompress(chunk)
            except zlib.error:
                # A killed run does not leave this. Cutting it off could lose the members after it.
                raise ArchiveProblem("the existing file is damaged or not in gzip format; use another name") from None
            for _ in lines.feed(text):
                pass
            rest = decompressor.unused_data
            position += len(chunk) - len(rest)
            if decompressor.eof:
                if lines.rest:
                    raise NOT_AN_ARCHIVE
                found = lines.end_member(start, position)
                # The next member may be incomplete.
                found = End(found.position, found.section and found.section.copy(), found.has_trailer)
                start = position
                decompressor = zlib.decompressobj(wbits=GZIP_WINDOW)
            chunk = rest
    return found


def last_line_end(file: FileIO) -> End:
    """Find the end of the last complete line."""
    found = End()
    lines = _Lines()
    if file.read(2) not in (b"", b"{", b'{"'):
        raise NOT_AN_ARCHIVE
    file.seek(0)
    position = 0
    while chunk := file.read(CHUNK_BYTES):
        for length in lines.feed(chunk):
            found = lines.end_member(position, position + length)
            position += length
    return found
