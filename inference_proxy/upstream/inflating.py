"""Inflate a compressed body as it comes, in bounded pieces. Some gateways compress although they were asked not to."""

import zlib

PIECE_BYTES = 256 * 1024
# A whole reply with the framing of its events is far smaller. More is an attack: compressed bytes cost their sender nothing.
MOST_BYTES = 64 * 1024 * 1024
GZIP, ZLIB, RAW = 31, 15, -15
GZIP_START = b"\x1f"
# Each costs a copy of what is read.
MOST_MEMBERS = 10_000
ENCODINGS = ("gzip", "x-gzip", "deflate")


class InflatingFailed(OSError):
    """The compressed body is malformed, or too long."""


class Inflater:
    def __init__(self, encoding: str) -> None:
        self._is_gzip = encoding != "deflate"
        self._inflate: zlib._Decompress | None = None
        self._waiting = b""
        self._has_more = False
        self._total = 0
        self._members = 0

    def put(self, data: bytes) -> None:
        self._waiting += data
        self._has_more = True

    def take(self) -> bytes:
        """Return the next piece of what has been put; b"" if there is none. Raises `InflatingFailed`."""
        while self._has_more:
            if piece := self._take_of_member():
                return piece
        return b""

    def _take_of_member(self) -> bytes:
        if self._inflate is None and self._members and self._waiting and not self._waiting.startswith(GZIP_START):
            # Some servers fill up the end with zeros.
            self._waiting, self._has_more = b"", False
            return b""
        if self._inflate is None:
            # Half of the services that say `deflate` leave out the header of zlib.
            self._inflate = zlib.decompressobj(GZIP if self._is_gzip else ZLIB if self._waiting[0] & 15 == 8 else RAW)
        try:
            piece = self._inflate.decompress(self._waiting, PIECE_BYTES)
        except zlib.error:
            raise InflatingFailed from None
        self._waiting = self._inflate.unconsumed_tail
        self._has_more = len(piece) == PIECE_BYTES or bool(self._waiting)
        if self._inflate.eof and self._is_gzip:
            # Servers that compress each part on its own send several members.
            self._waiting = self._inflate.unused_data
            self._has_more = bool(self._waiting)
            self._inflate = None
            self._members += 1
        self._total += len(piece)
        if self._total > MOST_BYTES or self._members > MOST_MEMBERS:
            raise InflatingFailed
        return piece
