"""Responses that are made from rows: a subclass of `Row` describes the JSON, names the columns to read, and makes the response.

To add a field to the JSON, add it to the class. Its attribute has the name of the column. `msgspec.field(name=…)` gives it
another name in the JSON. `computed` names the fields that no column has.

Old rows and running replies have nulls. A field that is not `… | None` shows an empty value instead: "" for text (or what
its `Meta` has as `empty`), 0 for a number, [] for a list. A time shows another time of the row, else UNKNOWN_TIME.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from operator import itemgetter
from typing import Any, ClassVar, NamedTuple, Self

import msgspec
from msgspec import inspect

from chatapi.api.field_types import FieldType
from chatapi.database.timestamps import OutOfRangeTime

# The predecessor allowed rows without a time, or with a time that clients can't read. Clients expect neither.
# `conversations.known_times` replaces such times before. So this is shown only for a row that was deleted in the meantime.
UNKNOWN_TIME = datetime(1970, 1, 1, tzinfo=UTC)


def is_known_time(time: datetime | None) -> bool:
    """Return whether clients can read a time."""
    return time is not None and not isinstance(time, OutOfRangeTime)


def known_time(*times: datetime | None) -> datetime:
    """Return the first of these times that a client can read, else UNKNOWN_TIME."""
    return next((time for time in times if time is not None and is_known_time(time)), UNKNOWN_TIME)


class _Columns:
    def __get__(self, row: object, kind: "type[Row]") -> tuple[str, ...]:
        return tuple(name for name in kind.__struct_fields__ if name not in kind.computed)


class Row(msgspec.Struct):
    # The columns and annotations to read.
    columns: ClassVar[_Columns] = _Columns()
    computed: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        """Return the response for a row that holds at least `columns`, and what is `computed`."""
        (made,) = cls.from_rows((row,))
        return made

    @classmethod
    def from_rows(cls, rows: Sequence[Mapping[str, Any]]) -> list[Self]:
        """Do the same for several rows. A subclass that makes more of a row extends this method."""
        read, empty_values, times = _reader_of(cls)
        responses = [cls(*read(row)) for row in rows]
        for made in responses:
            # What most rows don't need is only checked.
            for name, empty in empty_values:
                if not getattr(made, name):
                    setattr(made, name, empty)
            for name in times:
                if type(getattr(made, name)) is not datetime:
                    setattr(made, name, known_time(*[getattr(made, other) for other in times]))
        return responses


class _Reader(NamedTuple):
    read: Any
    empty_values: tuple[tuple[str, Any], ...]
    times: tuple[str, ...]


@cache
def _reader_of(kind: type[Row]) -> _Reader:
    described = inspect.type_info(kind)
    assert isinstance(described, inspect.StructType)
    never_null = {field.name: found for field in described.fields if not (found := FieldType.of(field.type)).is_nullable}
    empty_values = {name: _empty_value(found) for name, found in never_null.items()}
    times = tuple(name for name, found in never_null.items() if isinstance(found.kind, inspect.DateTimeType))
    return _Reader(
        itemgetter(*kind.__struct_fields__), tuple(each for each in empty_values.items() if each[1] is not None), times
    )


def _empty_value(found: FieldType) -> Any:
    if "empty" in found.extra:
        return found.extra["empty"]
    kinds = {inspect.StrType: "", inspect.IntType: 0, inspect.ListType: []}
    return kinds.get(type(found.kind))
