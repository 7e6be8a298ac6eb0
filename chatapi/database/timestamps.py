"""Times that PostgreSQL knows and Python does not: `infinity`, years after 9999, years before Christ.

The predecessor's rows may contain them. psycopg refuses to read them, so one such row would turn every list with it into an
error. This module reads them as `OutOfRangeTime`, which keeps PostgreSQL's own text, so that a cursor can send the same time
back. Clients see it as unknown.
"""

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

import psycopg
from psycopg.abc import Buffer
from psycopg.adapt import AdaptersMap, Loader
from psycopg.pq import Format
from psycopg.types.datetime import DatetimeDumper

FORM = re.compile(
    r"-?infinity|(?P<year>\d{4,6})-(?P<month>\d\d)-(?P<day>\d\d) (?P<time>\d\d:\d\d:\d\d(\.\d{1,6})?)\+00(?P<bc> BC)?", re.ASCII
)
# What PostgreSQL takes in whole years.
LAST_YEAR, FIRST_YEAR_BC = 294_276, 4713


class OutOfRangeTime(datetime):
    """A time in PostgreSQL's words; as a datetime it is the last or the first moment that Python knows."""

    text: str | None = None

    @classmethod
    def parse(cls, text: str) -> "OutOfRangeTime":
        """Raises `ValueError` for what PostgreSQL would not write, or would not read."""
        found = FORM.fullmatch(text)
        if found is None or (found["year"] and not _is_valid(found)):
            raise ValueError("not a time of PostgreSQL's")
        is_past = text == "-infinity" or found["bc"] is not None
        moment = cls.combine(datetime.min if is_past else datetime.max, (datetime.min if is_past else datetime.max).time(), UTC)
        moment.text = text
        return moment

    def isoformat(self, *arguments: Any, **options: Any) -> str:
        # A copy that was moved to another zone has lost the text.
        return super().isoformat(*arguments, **options) if self.text is None else self.text


def _is_valid(found: re.Match[str]) -> bool:
    year = int(found["year"])
    if found["bc"]:
        is_known, year = 1 <= year <= FIRST_YEAR_BC, 1 - year
    else:
        is_known = 9999 < year <= LAST_YEAR
    # Calendars repeat after 400 years.
    datetime.fromisoformat(f"{2000 + year % 400}-{found['month']}-{found['day']} {found['time']}")
    return is_known


class TimestampLoader(Loader):
    """Read a timestamptz, in UTC."""

    # Django registers a loader of its own where a connection's time zone is another.
    timezone = UTC

    def load(self, data: Buffer) -> datetime:
        text = bytes(data).decode()
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            try:
                return OutOfRangeTime.parse(text)
            except ValueError:
                raise psycopg.DataError("can't read a timestamp: PostgreSQL's DateStyle or TimeZone is unusual") from None
        return moment if moment.tzinfo is UTC else moment.astimezone(UTC)


# What PostgreSQL sends in its binary form: microseconds since this time, or the last or first number.
EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
INFINITIES = {2**63 - 1: "infinity", -(2**63): "-infinity"}
# Calendars repeat after this time.
FOUR_CENTURIES_US = 146_097 * 24 * 3600 * 1_000_000


class BinaryTimestampLoader(Loader):
    """Read every timestamptz in its binary form. For the rows that psycopg's own loader, which is faster, refuses."""

    format = Format.BINARY

    def load(self, data: Buffer) -> datetime:
        number = int.from_bytes(data, "big", signed=True)
        try:
            return EPOCH + number * MICROSECOND
        except OverflowError:
            return OutOfRangeTime.parse(INFINITIES.get(number) or _text_of(number))


def _text_of(number: int) -> str:
    """Return a time that Python does not know as PostgreSQL writes it."""
    cycles, rest = divmod(number, FOUR_CENTURIES_US)
    moment = EPOCH + rest * MICROSECOND
    year = moment.year + 400 * cycles
    fraction = f".{moment.microsecond:06}".rstrip("0").rstrip(".")
    written = f"{year if year > 0 else 1 - year:04}-{moment:%m-%d %H:%M:%S}{fraction}+00"
    return written if year > 0 else f"{written} BC"


class OutOfRangeTimeDumper(DatetimeDumper):
    """Write such a time as PostgreSQL wrote it."""

    def dump(self, obj: datetime) -> Buffer | None:
        return obj.isoformat().encode()


@lru_cache(maxsize=8)
def with_all_timestamps(adapters: AdaptersMap) -> AdaptersMap:
    """Return these adapters, changed so that every timestamptz can be read and written."""
    changed = AdaptersMap(adapters)
    changed.register_loader("timestamptz", TimestampLoader)
    changed.register_dumper(OutOfRangeTime, OutOfRangeTimeDumper)
    return changed


@lru_cache(maxsize=8)
def with_all_binary_timestamps(adapters: AdaptersMap) -> AdaptersMap:
    """Return these adapters, changed so that every timestamptz can be read in its binary form as well."""
    changed = AdaptersMap(adapters)
    changed.register_loader("timestamptz", BinaryTimestampLoader)
    return changed
