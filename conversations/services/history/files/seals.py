"""How a file of history shows that it is whole.

A section begins with a header, has rows, and ends with a trailer: the numbers of rows, and the SHA-256 of the section's lines
from the header on. A file has one section, or several if files were joined. Rows outside a section come from older versions,
which wrote neither header nor trailer. The hash shows cuts and mistakes. It is not a signature: who can change the file can
also change its hash.
"""

import hashlib
from enum import StrEnum
from typing import Any

import orjson

VERSION = 1
HEADER = b'{"archive":{"version":%d}}\n' % VERSION
HEADER_BEGINNING = b'{"archive":'
TRAILER_BEGINNING = b'{"end":'
CONVERSATION_BEGINNING = b'{"conversation":'
MESSAGE_BEGINNING = b'{"message":'


class Condition(StrEnum):
    """What the headers and trailers of a file say about it."""

    WHOLE = "whole"
    # Some rows are outside a section, so nothing shows whether rows are missing.
    UNMARKED = "unmarked"
    CUT = "cut"
    CHANGED = "changed"


class UnknownVersion(Exception):
    """A newer version of this service wrote the file."""


class Section:
    """The counts and the hash of a section so far."""

    def __init__(self) -> None:
        self.conversations = 0
        self.messages = 0
        self._hash = hashlib.sha256(HEADER)

    def add(self, line: bytes) -> None:
        """Add a row, with its line end."""
        if line.startswith(CONVERSATION_BEGINNING):
            self.conversations += 1
        elif line.startswith(MESSAGE_BEGINNING):
            self.messages += 1
        self._hash.update(line)

    def copy(self) -> "Section":
        other = Section()
        other.conversations, other.messages = self.conversations, self.messages
        other._hash = self._hash.copy()
        return other

    def trailer(self) -> bytes:
        end = {"conversations": self.conversations, "messages": self.messages, "sha256": self._hash.hexdigest()}
        return orjson.dumps({"end": end}, option=orjson.OPT_APPEND_NEWLINE)


class SealReader:
    """Follow the lines of a file and find out whether it is whole."""

    def __init__(self) -> None:
        # The section that has begun and not ended.
        self.section: Section | None = None
        self.conversations = 0
        self.messages = 0
        self.is_changed = False
        self._is_cut = False
        self._is_unmarked = False
        self._has_lines = False

    def read(self, line: bytes) -> bool:
        """Take the next line, with its line end. Return whether it is a row. Raises `UnknownVersion`."""
        self._has_lines = True
        if line.startswith(HEADER_BEGINNING):
            _check_version(line)
            self._is_cut |= self.section is not None
            self.section = Section()
            return False
        if line.startswith(TRAILER_BEGINNING):
            self.is_changed |= self.section is None or self.section.trailer() != line
            self.section = None
            return False
        if self.section is None:
            self._is_unmarked = True
        else:
            self.section.add(line)
        if line.startswith(CONVERSATION_BEGINNING):
            self.conversations += 1
        elif line.startswith(MESSAGE_BEGINNING):
            self.messages += 1
        return True

    def condition(self, *, is_torn: bool = False) -> Condition:
        """Return the condition after the last line. `is_torn`: the file ends within a line or within compressed data."""
        if self.is_changed:
            return Condition.CHANGED
        if is_torn or self._is_cut or self.section is not None or not self._has_lines:
            return Condition.CUT
        return Condition.UNMARKED if self._is_unmarked else Condition.WHOLE


def _check_version(line: bytes) -> None:
    try:
        found: Any = orjson.loads(line)["archive"]["version"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        found = None
    if found != VERSION:
        raise UnknownVersion
