"""Cursors of changes: opaque to clients, and only good for the database and the history of commits that they came from."""

import base64
import binascii
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from uuid import UUID

from conversations.exceptions import CursorExpired
from conversations.services.changes.snapshots import MOST, Snapshot

MAX_CHARACTERS = 12_000
MAX_RUNNING = 4_000
# The first byte. Another form gets another number, and cursors of this one then expire.
FORM = 1
ID_BYTES = 16


@dataclass(frozen=True, slots=True)
class Cursor:
    """Everything in `since` was told. In the middle of a page's window, `until` is its end, and `after` the last id told."""

    # Which database of which server.
    place: int
    # The latest era of the history of commits at the time (see migration 0050).
    era: UUID
    # By the database's clock, in seconds.
    issued_at: int
    # The transaction of the user's newest change at the time, or 0.
    newest: int
    since: Snapshot
    until: Snapshot | None = None
    after: UUID | None = None

    def encode(self) -> str:
        data = bytearray([FORM])
        for number in (self.place, self.issued_at, self.newest):
            _write(data, number)
        data += self.era.bytes
        _write_snapshot(data, self.since)
        if self.until is not None and self.after is not None:
            data += self.after.bytes
            _write_snapshot(data, self.until)
        return base64.urlsafe_b64encode(data).decode().rstrip("=")

    @classmethod
    def decode(cls, text: str) -> "Cursor":
        """Raises `CursorExpired` for whatever this version did not issue."""
        try:
            if len(text) > MAX_CHARACTERS:
                raise CursorExpired
            data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
            return _read(data)
        except (binascii.Error, ValueError, IndexError, StopIteration):
            raise CursorExpired from None


def _read(data: bytes) -> Cursor:
    if data[0] != FORM:
        raise ValueError
    numbers = iter(data[1:])
    place, issued_at, newest = (_read_number(numbers) for _ in range(3))
    era = _read_id(numbers)
    since = _read_snapshot(numbers)
    rest = bytes(numbers)
    if not rest:
        return Cursor(place, era, issued_at, newest, since)
    numbers = iter(rest)
    after = _read_id(numbers)
    until = _read_snapshot(numbers)
    if next(numbers, None) is not None:
        raise ValueError
    return Cursor(place, era, issued_at, newest, since, until, after)


def _write(data: bytearray, number: int) -> None:
    """Write a number with seven bits a byte, the lowest first; all bytes but the last have the eighth bit."""
    while number > 127:
        data.append(number & 127 | 128)
        number >>= 7
    data.append(number)


def _read_number(numbers: Iterator[int]) -> int:
    found = shift = 0
    while (part := next(numbers)) > 127:
        found |= (part & 127) << shift
        shift += 7
        if shift > 63:
            raise ValueError
    found |= part << shift
    if found > MOST:
        raise ValueError
    return found


def _read_id(numbers: Iterator[int]) -> UUID:
    return UUID(bytes=bytes(islice(numbers, ID_BYTES)))


def _write_snapshot(data: bytearray, snapshot: Snapshot) -> None:
    # Differences, because they are small.
    _write(data, snapshot.end)
    _write(data, len(snapshot.running))
    last = snapshot.end
    for number in reversed(snapshot.running):
        _write(data, last - number)
        last = number


def _read_snapshot(numbers: Iterator[int]) -> Snapshot:
    end, count = _read_number(numbers), _read_number(numbers)
    if count > MAX_RUNNING:
        raise ValueError
    running, last = [], end
    for _ in range(count):
        difference = _read_number(numbers)
        if not difference:
            raise ValueError
        last -= difference
        running.append(last)
    if last <= 0:
        raise ValueError
    return Snapshot(end, tuple(reversed(running)))
