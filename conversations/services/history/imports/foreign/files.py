"""Read the conversations of an export file one by one: JSON, compressed or not, or a zip of JSON files.

Only one conversation is in memory at a time. A file has a list of conversations, or one conversation after the other.
"""

import gzip
import re
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import ijson

from conversations.services.history.files.reading import STANDARD_INPUT, ImportProblem, import_file
from conversations.services.history.imports.foreign.nodes import shown_name

ZIP_BEGINNING = b"PK\x03\x04"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
PIECE_BYTES = 64 * 1024
# Twenty times the largest that we have seen. A few kilobytes of a zip can hold a conversation of gigabytes.
MAX_CHAT_BYTES = 256 * 1024 * 1024
# A LibreChat export may have each answer below its question.
MAX_DEPTH = 20_000
BEGINNINGS, ENDS = ("start_map", "start_array"), ("end_map", "end_array")
WHITE_SPACE = b" \t\r\n"


class Item(NamedTuple):
    """A conversation as the file has it. `path` says where in the file, for people."""

    path: str
    value: Any


def read_items(name: str, wanted: re.Pattern[str]) -> Iterator[Item]:
    """Yield the conversations of a file. Of a zip, those of the JSON files with a name that `wanted` matches.

    Raises `ImportProblem`, which says where a malformed file stops being readable. What comes before that has been yielded.
    """
    if name != STANDARD_INPUT and _is_zip(name):
        yield from _read_zip(name, wanted)
        return
    with import_file(name) as source:
        yield from _read_json(_Measured(source), "")


def _is_zip(name: str) -> bool:
    path = Path(name)
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(ZIP_BEGINNING)) == ZIP_BEGINNING


def _read_zip(name: str, wanted: re.Pattern[str]) -> Iterator[Item]:
    try:
        with zipfile.ZipFile(name) as archive:
            members = sorted(member for member in archive.namelist() if wanted.fullmatch(member.rpartition("/")[2]))
            if not members:
                raise ImportProblem("the zip has no file with conversations in it")
            for member in members:
                with archive.open(member) as source:
                    yield from _read_json(_Measured(source), shown_name(member.rpartition("/")[2]))
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as failure:
        # An encrypted zip is a RuntimeError, an unknown compression a NotImplementedError.
        raise ImportProblem(f"the zip can't be read: {type(failure).__name__}") from None


def _read_json(source: "_Measured", file: str) -> Iterator[Item]:
    path = f"{file}[0]"
    try:
        is_list = source.first_byte() == b"["
        for number, value in enumerate(_values(source, is_list=is_list)):
            source.begin_item()
            yield Item(path, value)
            path = f"{file}[{number + 1}]"
    except _TooDeep:
        raise ImportProblem(f"{path} is nested more than {MAX_DEPTH:,} levels deep") from None
    except _TooLarge:
        raise ImportProblem(f"{path} is larger than {MAX_CHAT_BYTES // 2**20} MiB") from None
    except ijson.IncompleteJSONError as failure:
        what = "the file ends within it" if "EOF" in str(failure) else "it is not valid JSON"
        raise ImportProblem(f"{path} can't be read: {what}") from None
    except ijson.JSONError:
        raise ImportProblem(f"{path} can't be read: it is not valid JSON") from None
    except (EOFError, gzip.BadGzipFile, zlib.error):
        raise ImportProblem(f"{path} can't be read: the compressed data is cut or damaged") from None


def _values(source: "_Measured", *, is_list: bool) -> Iterator[Any]:
    """Yield the values of a list, or of a file that has one after the other.

    `ijson.items` would keep the path of each level: a hundred kilobytes of brackets took 20 GB.
    """
    outermost = 1 if is_list else 0
    depth = 0
    value = ijson.ObjectBuilder()
    for event, part in ijson.basic_parse(source, multiple_values=not is_list, buf_size=PIECE_BYTES):
        if event in BEGINNINGS:
            depth += 1
            if depth > MAX_DEPTH:
                raise _TooDeep
        elif event in ENDS:
            depth -= 1
        if depth < outermost or (depth == outermost and is_list and event == "start_array"):
            # The list itself.
            continue
        value.event(event, part)
        if depth == outermost:
            yield value.value
            value = ijson.ObjectBuilder()


class _TooDeep(Exception):
    pass


class _TooLarge(Exception):
    pass


class _Measured:
    """A file for the parser, which reads pieces. It refuses to read more than one conversation may have."""

    def __init__(self, source: Any) -> None:
        self._source = source
        self._beginning = b""
        self._since_item = 0

    def first_byte(self) -> bytes:
        """Return the first byte that means something, and leave it to be read."""
        while not self._beginning:
            piece = self._source.read(PIECE_BYTES)
            if not piece:
                return b""
            self._beginning = piece.removeprefix(BYTE_ORDER_MARK).lstrip(WHITE_SPACE)
        return self._beginning[:1]

    def begin_item(self) -> None:
        self._since_item = 0

    def read(self, size: int = PIECE_BYTES) -> bytes:
        if size == 0:
            return b""
        piece: bytes = self._beginning or self._source.read(size)
        self._beginning = b""
        self._since_item += len(piece)
        if self._since_item > MAX_CHAT_BYTES:
            raise _TooLarge
        return piece
