"""A client that reads streams frame by frame and can leave or stop reading at any moment."""

import contextlib
import http.client
import json
import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

SILENCE_LIMIT_S = 40.0
REPLY_LIMIT_S = 90.0
ABSENT: Any = object()


@dataclass(frozen=True)
class Frame:
    """A server-sent event, an NDJSON line (without id), or a comment (without object)."""

    id: int | None = None  # the number of characters of text after it
    event_id: str | None = None  # the id as it was sent: the cursor, or "done"
    object: dict[str, Any] | None = None
    comment: str | None = None


@dataclass(frozen=True)
class Answer:
    """A response that was read completely."""

    status: int
    headers: http.client.HTTPMessage
    content: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.content)


class Stream:
    """A response that is read frame by frame."""

    def __init__(self, connection: http.client.HTTPConnection, response: http.client.HTTPResponse, sock: socket.socket) -> None:
        self._connection, self._response, self._socket = connection, response, sock
        self.status = response.status
        self.headers = response.headers
        self.text = ""  # of the reply, up to the last frame read
        self.reasoning = ""
        self.frames: list[Frame] = []  # all frames read so far

    @property
    def message_id(self) -> str:
        return str(self.headers["X-Message-Id"])

    @property
    def objects(self) -> list[dict[str, Any]]:
        """The objects read so far, without comments."""
        return [frame.object for frame in self.frames if frame.object is not None]

    @property
    def comments(self) -> list[str]:
        return [frame.comment for frame in self.frames if frame.comment is not None]

    @property
    def last_event_id(self) -> int:
        """The offset in the last id read, which a browser sends when it reconnects."""
        return max((frame.id for frame in self.frames if frame.id is not None), default=0)

    @property
    def last_cursor(self) -> str:
        """The last id read that is a cursor. Text and reasoning both."""
        return next((frame.event_id for frame in reversed(self.frames) if frame.id is not None and frame.event_id), "0")

    def __iter__(self) -> Iterator[Frame]:
        while (frame := self.read()) is not None:
            yield frame

    def read(self) -> Frame | None:
        """Wait for the next frame or comment. Return None at the end of the stream."""
        frame = self._read_line() if "ndjson" in self.headers["Content-Type"] else self._read_event()
        if frame:
            self.frames.append(frame)
            self.text += (frame.object or {}).get("token") or ""
            self.reasoning += (frame.object or {}).get("reasoning") or ""
        return frame

    def read_object(self) -> dict[str, Any]:
        """Wait for the next object. Fail if the stream ends first."""
        for frame in self:
            if frame.object is not None:
                return frame.object
        raise AssertionError(f"the stream ended; it was {self.frames}")

    def read_until(self, text: str) -> None:
        """Read until the reply contains this text."""
        while text not in self.text:
            self.read_object()

    def finish(self) -> dict[str, Any]:
        """Read to the end and return the `done` object, which must be the last and the only one."""
        assert self.status == 200, self.body()
        give_up_at = time.monotonic() + REPLY_LIMIT_S
        while self.read() is not None:
            assert time.monotonic() < give_up_at, f"the reply has no end: {self.text[:200]!r} …"
        last = self.objects[-1] if self.objects else {}
        assert last.get("done") is True, f"the stream did not end with done: {self.frames}"
        assert sum("done" in item for item in self.objects) == 1, self.objects
        return last

    def body(self) -> bytes:
        """Read the rest of the body, for answers that are not streams."""
        return self._response.read()

    def read_bytes(self, count: int) -> bytes:
        """Wait for the next `count` bytes of the body."""
        return self._response.read(count)

    @property
    def json(self) -> Any:
        return json.loads(self.body())

    def close(self) -> None:
        """Close the connection properly."""
        self._response.close()
        self._connection.close()
        self._socket.close()

    def abort(self) -> None:
        """Close the connection with a TCP reset."""
        with contextlib.suppress(OSError):
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def break_off(self) -> None:
        """Shut the connection down while another thread reads it. That thread sees the end of the stream."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def _read_event(self) -> Frame | None:
        fields: dict[str, str] = {}
        while line := self._response.readline():
            name, _, value = line.decode().rstrip("\r\n").partition(":")
            if name:
                fields[name] = value.removeprefix(" ")
            elif value:
                assert not fields, f"a comment inside an event: {fields}"
                return Frame(comment=value.removeprefix(" "))
            else:
                # Some client libraries hand an event without data to the application.
                assert "data" in fields, f"an event without data: {fields}"
                event_id = fields.get("id")
                offset = int(event_id.split("-")[0]) if event_id and event_id[0].isdigit() else None
                return Frame(offset, event_id, json.loads(fields["data"]))
        assert not fields, f"the stream broke off inside an event: {fields}"
        return None

    def _read_line(self) -> Frame | None:
        while line := self._response.readline():
            if line.strip():
                assert line.endswith(b"\n"), f"the stream broke off inside a line: {line!r}"
                return Frame(object=json.loads(line))
        return None


class Client:
    """A user of the service with one token (None: anonymous). Each request has its own connection."""

    def __init__(self, port: int, token: str | None, limit_s: float = SILENCE_LIMIT_S) -> None:
        self.port, self.token, self._limit_s = port, token, limit_s
        self._streams: list[Stream] = []

    def at(self, port: int) -> "Client":
        """Make a client of the same user at another server. Closing this client closes the streams of both."""
        other = Client(port, self.token, self._limit_s)
        other._streams = self._streams
        return other

    def close(self) -> None:
        """Close the streams that are still open."""
        for stream in self._streams:
            stream.close()

    def open(
        self,
        method: str,
        path: str,
        body: Any = ABSENT,
        headers: dict[str, str] | None = None,
        receive_buffer: int | None = None,
    ) -> Stream:
        """Send a request. Return its response as soon as the headers have arrived."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=self._limit_s)
        sock = socket.socket()
        sock.settimeout(self._limit_s)
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        authorization = {} if self.token is None else {"Authorization": f"Bearer {self.token}"}
        fields = {**authorization, **(headers or {})}
        content = None
        if body is not ABSENT:
            content, fields["Content-Type"] = json.dumps(body), "application/json"
        try:
            sock.connect(("127.0.0.1", self.port))
            connection.sock = sock
            connection.request(method, path, content, fields)
            stream = Stream(connection, connection.getresponse(), sock)
        except BaseException:
            sock.close()
            raise
        self._streams.append(stream)
        return stream

    def request(self, method: str, path: str, body: Any = ABSENT, headers: dict[str, str] | None = None) -> Answer:
        """Send a request and read its answer completely."""
        stream = self.open(method, path, body, headers)
        try:
            return Answer(stream.status, stream.headers, stream.body())
        finally:
            stream.close()

    def get(self, path: str) -> Any:
        """Read something that must exist."""
        answer = self.request("GET", path)
        assert answer.status == 200, answer
        return answer.json

    def create_conversation(self, **fields: Any) -> str:
        """Create a conversation and return its id."""
        answer = self.request("POST", "/api/conversations", fields)
        assert answer.status == 201, answer
        return str(answer.json["id"])

    def conversation(self, conversation_id: str) -> Any:
        """Read a conversation with its messages."""
        return self.get(f"/api/conversations/{conversation_id}")

    def messages(self, conversation_id: str) -> list[dict[str, Any]]:
        """Read all messages, including inactive answers, oldest first."""
        return list(self.get(f"/api/conversations/{conversation_id}/messages?versions=all&limit=200")["items"])

    def message(self, conversation_id: str, message_id: str) -> Any:
        return self.get(f"/api/conversations/{conversation_id}/messages/{message_id}")

    def send(
        self,
        conversation_id: str,
        content: str,
        *,
        headers: dict[str, str] | None = None,
        receive_buffer: int | None = None,
        **fields: Any,
    ) -> Stream:
        """Send a message. Return the stream of its reply, or the refusal."""
        path = f"/api/conversations/{conversation_id}/messages"
        return self.open("POST", path, {"content": content, **fields}, headers, receive_buffer)

    def ask(self, conversation_id: str, content: str) -> Stream:
        """Send a message and read its reply to the end."""
        stream = self.send(conversation_id, content)
        stream.finish()
        return stream

    def follow(self, conversation_id: str, message_id: str, query: str = "", last_event_id: int | str | None = None) -> Stream:
        """Follow a reply from its start, from `?after=` in the query, or from a last event id."""
        headers = {} if last_event_id is None else {"Last-Event-ID": str(last_event_id)}
        return self.open("GET", f"/api/conversations/{conversation_id}/messages/{message_id}/stream{query}", headers=headers)

    def regenerate(self, conversation_id: str, **fields: Any) -> Stream:
        return self.open("POST", f"/api/conversations/{conversation_id}/regenerate", fields)

    def stop(self, conversation_id: str) -> Answer:
        return self.request("POST", f"/api/conversations/{conversation_id}/stop")
