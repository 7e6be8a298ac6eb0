"""The body of a streamed response, read from its socket as the bytes arrive.

urllib3 connects and keeps connections; http.client reads the answer's headers. After them, http.client's reader would make five
Python calls and a buffered `readline` per chunk, more than all other work for a token. So this module reads the body with
`recv`, and httptools (llhttp, in C) removes the chunks' framing.
"""

import contextlib
import ssl
from collections.abc import Callable
from typing import Any

import httptools

from inference_proxy.upstream.inflating import ENCODINGS, Inflater
from inference_proxy.upstream.posting import PooledResponse

READ_BYTES = 65536
# The framing around one piece of the body: chunk sizes with their extensions, trailers.
MAX_FRAMING_BYTES = 64 * 1024
# httptools wants a whole answer; the real head has been read by then.
CHUNKED_HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


# Waits for bytes and returns at most the given number of them, b"" at the end.
Receive = Callable[[Any, int], bytes]


def _receive(sock: Any, size: int) -> bytes:
    data: bytes = sock.recv(size)
    return data


_receive_after_waiting: Receive = _receive


def receive_with(receive: Receive) -> None:
    """Take the server's way to wait for a socket. On an event loop, a `recv` that finds nothing is not free."""
    global _receive_after_waiting
    _receive_after_waiting = receive


class BodyBroken(OSError):
    """The connection ended before the body did, or the framing is malformed."""


class Body:
    """The rest of an answer whose headers have been read."""

    def __init__(self, answer: PooledResponse) -> None:
        self._answer = answer
        head: Any = answer.head
        self._socket: Any = head.fp.raw._sock
        # Decrypted bytes may wait where no event loop sees them.
        self._is_encrypted = isinstance(self._socket, ssl.SSLSocket)
        # What http.client's buffer holds beyond the headers. It comes first.
        self._early = _take_buffered(head.fp, self._socket)
        self._remaining: int | None = head.length
        self._is_reusable = not head.will_close
        if self._is_reusable:
            # Its buffer is not needed again, and the connection keeps the socket open.
            head.close()
        self._parser: Any = None
        self._pieces: list[bytes] = []
        self._framing_bytes = 0
        self._is_malformed = False
        encoding = (head.headers.get("Content-Encoding") or "").strip().lower()
        self._inflater = Inflater(encoding) if encoding in ENCODINGS else None
        # Whether the framing tells where the body ends. Otherwise it ends with the connection, and so may be cut.
        self.is_framed = bool(head.chunked) or head.length is not None
        self._is_closed = False
        self.is_whole = self._remaining == 0
        if self.is_whole and self._early:
            self._is_reusable = False
        if head.chunked:
            self._parser = httptools.HttpResponseParser(self)
            self._parser.set_dangerous_leniencies(lenient_spaces_after_chunk_size=True)
            self._parser.feed_data(CHUNKED_HEAD)

    def read(self, *, is_ready: bool = False) -> bytes:
        """Return the next bytes as soon as there are any, b"" at the end. `is_ready` says that there are some, most likely.

        Raises `BodyBroken` and other `OSError`.
        """
        receive = _receive if is_ready or self._is_encrypted else _receive_after_waiting
        while True:
            if self._inflater is not None and (inflated := self._inflater.take()):
                return inflated
            if self.is_whole:
                break
            if self._is_malformed:
                raise BodyBroken
            data = self._early or receive(self._socket, READ_BYTES)
            self._early = b""
            if piece := self._unwrap(data):
                if self._inflater is None:
                    return piece
                self._inflater.put(piece)
        self.close()
        return b""

    def close(self) -> None:
        """Give the connection back to its pool if the body ends with what has arrived; otherwise give it up."""
        if self._parser is not None and not self.is_whole:
            self._read_what_is_there()
        self._parser = None
        if self._is_closed:
            # The connection may serve another call by now.
            return
        self._is_closed = True
        if self.is_whole and self._is_reusable:
            self._answer.keep_connection()
        else:
            with contextlib.suppress(OSError):
                self._answer.drop_connection()

    def _read_what_is_there(self) -> None:
        # A service may end the reply in one packet and the body in the next.
        with contextlib.suppress(OSError):
            self._socket.settimeout(0)
            self._unchunk(self._socket.recv(READ_BYTES))
            self._socket.settimeout(None)

    def _unwrap(self, data: bytes) -> bytes:
        """Take the framing off."""
        if self._parser is not None:
            return self._unchunk(data)
        if self._remaining is None:
            # The body ends with the connection.
            self.is_whole = not data
            return data
        if not data:
            raise BodyBroken
        piece = data[: self._remaining]
        if len(piece) < len(data):
            # Whatever follows the end would be taken for the answer to the next request.
            self._is_reusable = False
        self._remaining -= len(piece)
        self.is_whole = self._remaining == 0
        return piece

    def _unchunk(self, data: bytes) -> bytes:
        if not data or self._is_malformed:
            raise BodyBroken
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            # The reader gets what came before; its next read fails.
            self._is_malformed = not self.is_whole
            self._is_reusable = False
        piece = b"".join(self._pieces)
        if self._is_malformed and not piece:
            raise BodyBroken
        self._pieces.clear()
        self._framing_bytes = 0 if piece else self._framing_bytes + len(data)
        if self._framing_bytes > MAX_FRAMING_BYTES:
            raise BodyBroken
        return piece

    # httptools calls these.

    def on_message_begin(self) -> None:
        if self.is_whole:
            # Something follows the end. It is not ours, and would be taken for the answer to the next request.
            self._is_reusable = False

    def on_body(self, piece: bytes) -> None:
        if not self.is_whole:
            self._pieces.append(piece)

    def on_message_complete(self) -> None:
        self.is_whole = True


def _take_buffered(stream: Any, sock: Any) -> bytes:
    """Return what a buffered reader has read ahead, without waiting for more."""
    timeout = sock.gettimeout()
    sock.settimeout(0)
    try:
        return bytes(stream.peek(1))
    except ssl.SSLWantReadError:
        return b""
    finally:
        sock.settimeout(timeout)
