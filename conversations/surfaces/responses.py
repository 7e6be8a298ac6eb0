"""Responses that are made from rows: a `RowSchema` describes the JSON, names the columns to read, and makes the JSON.

To add a field to the JSON, add it to the class. Give the column with `source` if it has another name. A field without
`allow_null` shows an empty value for a null: "" (or its `initial`) for text, 0 for a number, [] for a list. For a time it shows
another time of the row, else UNKNOWN_TIME. The predecessor's rows and running replies have such nulls.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar

from rest_framework import serializers

from chatapi.database.timestamps import OutOfRangeTime

# The predecessor allowed rows without a time, or with a time that clients can't read. Clients expect neither.
UNKNOWN_TIME = datetime(1970, 1, 1, tzinfo=UTC)


def known_time(*times: datetime | None) -> datetime:
    """Return the first of these times that a client can read, else UNKNOWN_TIME."""
    known = (time for time in times if time is not None and not isinstance(time, OutOfRangeTime))
    return next(known, UNKNOWN_TIME)


class RowSchema(serializers.Serializer[Any]):
    # No docstring: the OpenAPI file would repeat it as the description of each subclass.

    # The columns and annotations to read.
    columns: ClassVar[tuple[str, ...]] = ()
    _names: ClassVar[tuple[str, ...]] = ()
    _empty_values: ClassVar[tuple[tuple[str, Any], ...]] = ()
    _times: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        declared: dict[str, serializers.Field[Any, Any, Any, Any]] = cls._declared_fields
        never_null = {name: field for name, field in declared.items() if not field.allow_null}
        texts = {name: field.initial for name, field in never_null.items() if isinstance(field, serializers.CharField)}
        numbers = {name: 0 for name, field in never_null.items() if isinstance(field, serializers.IntegerField)}
        lists: dict[str, Any] = {name: [] for name, field in never_null.items() if isinstance(field, serializers.ListField)}
        cls._names = tuple(declared)
        cls.columns = tuple(field.source or name for name, field in declared.items())
        cls._empty_values = tuple({**texts, **numbers, **lists}.items())
        cls._times = tuple(name for name, field in never_null.items() if isinstance(field, serializers.DateTimeField))

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> dict[str, Any]:
        """Return the JSON of a row that holds at least `columns`."""
        # Lists call this for each row, so what most rows don't need is only checked.
        answer = dict(zip(cls._names, map(row.__getitem__, cls.columns), strict=True))
        for name, empty in cls._empty_values:
            if not answer[name]:
                answer[name] = empty
        for name in cls._times:
            if type(answer[name]) is not datetime:
                answer[name] = known_time(*[answer[other] for other in cls._times])
        return answer

    @classmethod
    def from_object(cls, found: object, **computed: Any) -> dict[str, Any]:
        """Return the JSON of an object that has the columns as attributes, except those that are `computed`."""
        read = {column: getattr(found, column) for column in cls.columns if column not in computed}
        return cls.from_row({**read, **computed})
