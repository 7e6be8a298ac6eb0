"""Server-Sent Events as bytes arrive: chunks in, whole events out.

Written against the event stream format of the HTML standard (https://html.spec.whatwg.org/multipage/server-sent-events.html):
lines end in LF, CRLF or CR; a blank line ends an event; a byte order mark may lead; several `data:` lines are joined by LF.

Beyond the standard, it reads what services send by mistake: JSON objects without a blank line between them, or on lines of
their own without a field's name; an answer that is one JSON document; ends and errors in a field or in the event's name instead
of its data.

Each byte is looked at a fixed number of times, however small the chunks are: a service costs no more than it sends.
"""

import json
import re
from weakref import WeakSet

import orjson

from inference_proxy.exceptions import UpstreamError

# One event may be as long as a whole reply.
MAX_UNFINISHED_BYTES = 8 * 1024 * 1024
# How many events may be longer than a mebibyte at once, in all replies of this process.
LONG_EVENT_BYTES = 1024 * 1024
MOST_LONG_EVENTS = 16
# One event of one line: what most services send for most tokens, and read in a quarter of the time.
SINGLE_EVENT = re.compile(rb"data: ([^\r\n]*)\n\n")
BOM = b"\xef\xbb\xbf"
# What an event is handed out as if its name or a field of its own says that it is an error.
ERROR_EVENT = b'{"error":"event"}'
ERROR_NAME = re.compile(
    rb"(?:^|[^a-z])(?:errors?|exception|fail(?:ed|ure)?|fatal|abort(?:ed)?|cancell?ed|timeout)$", re.IGNORECASE
)
END_EVENT = b"[DONE]"
END_NAMES = (b"done", b"end", b"finish", b"complete", b"completed", b"[done]")
LONGEST_NAME = 64
# In one document. More are no stream, and each costs more than its bytes.
MOST_OBJECTS = 100_000
FIELD = re.compile(rb"\s*data:", re.IGNORECASE)


class EventDecoder:
    """Turn chunks, cut anywhere, into the data of whole events."""

    def __init__(self) -> None:
        # The last line, which has no end yet, and the data of the event that it belongs to.
        self._line = bytearray()
        self._data = bytearray()
        self._has_data = False
        self._is_error = False
        self._is_end = False
        # Whether the data so far may be an object of its own. Tried once an event.
        self._may_be_whole = True
        self._is_after_cr = False
        self._is_at_start = True
        # Whether nothing of all this is left of the last chunk.
        self._is_between_events = False
        # Whether it is one of `_long`.
        self._is_long = False
        # Whether the answer is a JSON document instead of a stream of events. It is handed out at the end.
        self.is_document = False

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the data of every event that ended in this chunk.

        Raises `UpstreamError` for an event that is longer than a reply may be, after the events before it were returned.
        """
        if self._is_between_events and (single := SINGLE_EVENT.fullmatch(chunk)):
            return [single[1]]
        if self._is_at_start:
            chunk = self._begin(chunk)
        if self.is_document:
            self._line += chunk
            self._check_length([])
            return []
        if self._is_after_cr and chunk:
            chunk = chunk.removeprefix(b"\n")
            self._is_after_cr = False
        if b"\r" in chunk:
            self._is_after_cr = chunk.endswith(b"\r")
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        events: list[bytes] = []
        if self._is_between_events:
            *blocks, chunk = chunk.split(b"\n\n")
            for block in blocks:
                self._read_block(block, events)
        *lines, rest = chunk.split(b"\n")
        for line in lines:
            if self._line:
                self._line += line
                line = bytes(self._line)
                self._line.clear()
            self._read_line(line, events)
        self._line += rest
        has_event = self._has_data or self._is_error or self._is_end
        self._is_between_events = not (self._line or has_event or self._is_after_cr or self._is_at_start)
        self._check_length(events)
        return events

    def finish(self) -> list[bytes]:
        """Return what the stream's last lines hold where it ended without a blank line."""
        self._check_length([])
        events: list[bytes] = []
        rest = bytes(self._line)
        self._line.clear()
        if self.is_document:
            return _events_of_document(rest.strip())
        if rest and not self._is_at_start:
            self._read_line(rest, events)
        self._end_event(events)
        return events

    def _begin(self, chunk: bytes) -> bytes:
        """Return the beginning of the stream without its byte order mark; b"" while it may still be one."""
        chunk = bytes(self._line) + chunk
        self._line.clear()
        if len(chunk) < 3 and BOM.startswith(chunk):
            self._line += chunk
            return b""
        chunk = chunk.removeprefix(BOM)
        begin = chunk.lstrip()
        if begin:
            self._is_at_start = False
            # No field of the format begins with a brace or a bracket.
            self.is_document = begin.startswith((b"{", b"["))
        return begin if self.is_document else chunk

    def _read_block(self, block: bytes, events: list[bytes]) -> None:
        """Read a whole event, without the blank line behind it."""
        if block.startswith(b"data: ") and b"\n" not in block:
            events.append(block[6:])
            return
        for line in block.split(b"\n"):
            self._read_line(line, events)
        self._end_event(events)

    def _read_line(self, line: bytes, events: list[bytes]) -> None:
        if line.startswith(b"data:"):
            self._read_data(line[6:] if line[5:6] == b" " else line[5:], events)
        elif not line:
            self._end_event(events)
        elif line.startswith(b"event:"):
            name = line[6:].strip()[-LONGEST_NAME:]
            self._is_error = self._is_error or ERROR_NAME.search(name) is not None
            self._is_end = name.lower() in END_NAMES
        elif line.startswith(b"error:"):
            self._is_error = True
            if not self._has_data:
                self._data += line[6:].strip()
        elif line.lstrip().startswith(b"{"):
            # An error between the events, such as Ollama's.
            if _is_object(bytearray(line.strip())):
                self._end_event(events)
                events.append(line.strip())
        elif found := FIELD.match(line):
            self._read_data(line[found.end() :].removeprefix(b" "), events)

    def _read_data(self, data: bytes, events: list[bytes]) -> None:
        if self._has_data:
            # A whole object can't go on in the next line, so a next object is a next event.
            if self._may_be_whole and _begins_event(data):
                if _is_object(self._data):
                    self._end_event(events)
                else:
                    self._may_be_whole = False
            if self._has_data:
                self._data += b"\n"
        self._data += data
        self._has_data = True

    def _end_event(self, events: list[bytes]) -> None:
        if self._is_error:
            # What it says may tell a request that is too long from other failures.
            events.append(b'{"error":"event","detail":%b}' % bytes(self._data) if _is_object(self._data) else ERROR_EVENT)
        elif self._has_data:
            events.append(bytes(self._data))
        if self._is_end:
            events.append(END_EVENT)
        self._data.clear()
        self._has_data = self._is_error = self._is_end = False
        self._may_be_whole = True

    def _check_length(self, events: list[bytes]) -> None:
        size = len(self._line) + len(self._data)
        if size <= LONG_EVENT_BYTES:
            if self._is_long:
                self._is_long = False
                _long.discard(self)
            return
        if not events and (size > MAX_UNFINISHED_BYTES or (not self._is_long and len(_long) >= MOST_LONG_EVENTS)):
            raise UpstreamError
        self._is_long = True
        _long.add(self)


# Those with a long event that has no end yet.
_long: WeakSet[EventDecoder] = WeakSet()


def _events_of_document(document: bytes) -> list[bytes]:
    """Return the document, or its lines if each of them is an object of its own."""
    lines = [line for line in document.splitlines() if line.strip()]
    if len(lines) > 1 and all(_begins_event(line) for line in lines):
        return lines
    objects = _objects_in(document) if document.count(b"{") <= MOST_OBJECTS else []
    return objects if len(objects) > 1 or (document.startswith(b"[") and objects) else [document]


def _objects_in(document: bytes) -> list[bytes]:
    """Return the objects of an array, or of a text that has one object after another; [] if it is neither."""
    text = document.decode(errors="replace")
    decoder, objects, at = json.JSONDecoder(strict=False), [], 0
    try:
        if text.startswith("["):
            objects = json.loads(text, strict=False)
        while at < len(text) and not text.startswith("["):
            found, at = decoder.raw_decode(text, at)
            objects.append(found)
            at += len(text[at : at + 64]) - len(text[at : at + 64].lstrip())
    except (ValueError, RecursionError):
        return []
    return [json.dumps(each).encode() for each in objects] if all(isinstance(each, dict) for each in objects) else []


def _begins_event(data: bytes) -> bool:
    return data.startswith(b"{") or data.strip().upper() == b"[DONE]"


def _is_object(data: bytearray) -> bool:
    if not (data.startswith(b"{") and data.rstrip().endswith(b"}")):
        return False
    try:
        orjson.loads(data)
    except orjson.JSONDecodeError:
        return False
    return True
