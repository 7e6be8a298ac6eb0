"""Streams of frames as HTTP responses: Server-Sent Events, NDJSON or bare text.

A stream is an object with `__next__` and `close`, not a generator: a generator that was never started never cleans up.
"""

import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol
from uuid import UUID

import orjson
from django.conf import settings
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse

from chatapi.service_error import ServiceError
from inference_proxy.protocols.event_values import load_object
from inference_proxy.replies.frames import Frame, cursor_of, is_call, is_reasoning

logger = logging.getLogger(__name__)

# A client that reads nothing for this long is disconnected. Its reply goes on.
SEND_TIMEOUT_S = 60.0


class Follower(Protocol):
    """A reader of a reply, from a cursor to the end, from memory or from the database."""

    has_ended: bool

    def read(self, timeout_s: float) -> list[Frame]:
        """Return new frames, waiting for the first; none after `timeout_s` of silence."""
        ...

    def take(self) -> list[Frame]:
        """Return new frames that are in memory, without waiting."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class StreamFormat:
    """How frames look on the wire. `greeting` is sent at once, `heartbeat` after every silence.

    `encode` returns b"" for a frame that this format leaves out. `cut` is sent if the stream ends before the reply does.
    """

    media_type: str
    greeting: bytes
    heartbeat: bytes
    encode: Callable[[Frame], bytes]
    cut: bytes = b""
    # False for bare text.
    is_json: bool = True


def escape_line_ends(data: bytes) -> bytes:
    """Escape U+0085, U+2028 and U+2029 in JSON. Clients that split lines as `str.splitlines` does would cut frames there."""
    if b"\xc2\x85" in data or b"\xe2\x80\xa8" in data or b"\xe2\x80\xa9" in data:
        return data.replace(b"\xc2\x85", b"\\u0085").replace(b"\xe2\x80\xa8", b"\\u2028").replace(b"\xe2\x80\xa9", b"\\u2029")
    return data


def _encode_sse(frame: Frame) -> bytes:
    event_id, payload = frame
    if isinstance(event_id, int):
        return b"id: %d\ndata: %b\n\n" % (event_id, payload)
    return b"data: %b\n\n" % payload if event_id is None else b"id: %b\ndata: %b\n\n" % (str(event_id).encode(), payload)


# No blank line after a comment: some client libraries take it for the end of an event, and hand out an empty one.
SSE = StreamFormat("text/event-stream", b": stream\n", b": ping\n", _encode_sse)
# A space before an object means nothing to a JSON parser, where an empty line would stop some readers of lines.
NDJSON = StreamFormat("application/x-ndjson", b"", b" ", lambda frame: frame[1] + b"\n")


def without_reasoning(stream_format: StreamFormat) -> StreamFormat:
    """Return this format for clients that know only the text of a reply."""
    encode = stream_format.encode
    return replace(stream_format, encode=lambda frame: b"" if is_reasoning(frame[1]) or is_call(frame[1]) else encode(frame))


def mark_of(reply_id: UUID) -> str:
    """Return what names this reply in the ids of its events."""
    return reply_id.hex[-8:]


def marked(stream_format: StreamFormat, mark: str) -> StreamFormat:
    """Return this format with a mark in the ids of events: `5-0-9f3a1c2b`. It tells them from those of another reply."""
    encode = stream_format.encode

    def encode_marked(frame: Frame) -> bytes:
        cursor = cursor_of(frame[0])
        if cursor is None:
            return encode(frame)
        place = f"{cursor.text}-{cursor.reasoning}-{cursor.calls}" if cursor.calls else f"{cursor.text}-{cursor.reasoning}"
        return encode((f"{place}-{mark}", frame[1]))

    return replace(stream_format, encode=encode_marked)


def _encode_text(frame: Frame) -> bytes:
    event_id, payload = frame
    return (load_object(payload).get("token") or "").encode() if cursor_of(event_id) is not None else b""


# Bare text has room for nothing but the reply: no heartbeat, and an end that looks the same whatever the reason.
TEXT = StreamFormat("text/plain", b"", b"", _encode_text, is_json=False)


class FrameStream:
    """The body of a streaming response: what a follower reads, encoded."""

    def __init__(
        self,
        follower: Follower,
        stream_format: StreamFormat,
        request: HttpRequest,
        on_close: Callable[[], None],
        on_delivered: Callable[[], None] | None = None,
    ) -> None:
        self._request: HttpRequest | None = request
        self._follower = follower
        self._on_close = on_close
        # Called after the last chunk has been sent, and not if the client has left before.
        self._on_delivered = on_delivered
        self._encode = stream_format.encode
        self._is_json = stream_format.is_json
        self._heartbeat = stream_format.heartbeat
        self._cut = stream_format.cut
        self._heartbeat_s: float = settings.HEARTBEAT_SECONDS
        self._greeting: bytes | None = stream_format.greeting
        # gunicorn's socket to the client; other servers don't hand theirs over.
        self._socket = request.META.get("gunicorn.socket")
        if self._socket is not None:
            self._socket.settimeout(SEND_TIMEOUT_S)

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self._greeting is not None:
            # The headers leave with the first chunk, so there is one at once, with what has come by then.
            greeting, self._greeting = self._greeting, None
            self._forget_request()
            return greeting + self._encoded(self._read(None))
        if self._follower.has_ended:
            self._note_delivered()
            raise StopIteration
        frames = self._read(self._heartbeat_s)
        return self._encoded(frames) or self._wait_for_more(frames)

    def _wait_for_more(self, frames: list[Frame]) -> bytes:
        """Return what comes next, or a heartbeat if there are no frames. The format may leave out all frames for a while."""
        heartbeat_at = time.monotonic() + self._heartbeat_s
        while frames and not self._follower.has_ended and (rest_s := heartbeat_at - time.monotonic()) > 0:
            frames = self._read(rest_s)
            if data := self._encoded(frames):
                return data
        if self._cut and self._follower.has_ended and not frames:
            return self._cut
        return self._heartbeat

    def _encoded(self, frames: list[Frame]) -> bytes:
        data = b"".join(map(self._encode, frames))
        return escape_line_ends(data) if self._is_json and not data.isascii() else data

    def _read(self, timeout_s: float | None) -> list[Frame]:
        try:
            return self._follower.take() if timeout_s is None else self._follower.read(timeout_s)
        except Exception:
            # Let through, it would cut the connection in mid-stream. The client is told, and can come back for the rest.
            logger.exception("following a reply failed")
            self._follower.has_ended = True
            return [(None, orjson.dumps({"error": ServiceError.code, "detail": ServiceError.detail}))]

    def _note_delivered(self) -> None:
        if self._on_delivered is not None:
            try:
                self._on_delivered()
            except Exception:
                logger.exception("noting that a stream was delivered failed")

    def _forget_request(self) -> None:
        """Drop what the request holds, about 8 KiB. The middleware is through with it, and the stream may take minutes."""
        request, self._request = self._request, None
        if request is not None:
            # The REST framework's requests wrap Django's. Its META stays: it is the server's own.
            vars(getattr(request, "_request", request)).clear()

    def close(self) -> None:
        try:
            self._on_close()
            self._follower.close()
            if self._socket is not None:
                with contextlib.suppress(OSError):
                    self._socket.settimeout(None)
        except Exception:
            # The caller, Django, swallows exceptions.
            logger.exception("closing a stream failed")


def stream_headers(media_type: str, headers: Mapping[str, str]) -> dict[str, str]:
    # The streams are UTF-8 by definition, but `requests` reads a `text/*` without a charset as Latin-1.
    own = {"Content-Type": f"{media_type}; charset=utf-8", "Cache-Control": "no-cache, no-transform", "X-Accel-Buffering": "no"}
    return {**headers, **own}


def headers_only(media_type: str, headers: Mapping[str, str]) -> HttpResponse:
    """Return the headers of a stream without the stream."""
    return HttpResponse(headers=stream_headers(media_type, headers))


class FrameStreamResponse(StreamingHttpResponse):
    """A response whose body is a `FrameStream`, handed to the server as it is: one Python call a chunk."""

    def __init__(self, stream: FrameStream, media_type: str, headers: Mapping[str, str]) -> None:
        super().__init__(stream, headers=stream_headers(media_type, headers))
        self._stream = stream

    def __iter__(self) -> Iterator[Any]:
        return self._stream
