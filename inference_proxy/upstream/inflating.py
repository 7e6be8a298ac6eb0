"""Inflate a compressed body as it comes, in bounded pieces. Some gateways compress although they were asked not to."""

import zlib

PIECE_BYTES = 256 * 1024
# A whole reply with the framing of its events is far smaller. More is an attack: compressed bytes cost their sender nothing.
MOST_BYTES = 64 * 1024 * 1024
GZIP, ZLIB, RAW = 31, 15, -15
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

    def put(self, data: bytes) -> None:
        self._waiting += data
        self._has_more = True

    def take(self) -> bytes:
        """Return the next piece of what has been put; b"" if there is none. Raises `InflatingFailed`."""
        if not self._has_more:
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
        self._total += len(piece)
        if self._total > MOST_BYTES:
            raise InflatingFailed
        return piece
