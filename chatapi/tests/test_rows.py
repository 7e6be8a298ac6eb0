"""The fields of a row are the JSON, the columns, and what replaces a null."""

from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar

import msgspec
import orjson
import pytest
from django.utils.safestring import mark_safe
from msgspec import Meta

from chatapi.api.rows import UNKNOWN_TIME, Row
from chatapi.api.wire import write_json
from chatapi.database.timestamps import OutOfRangeTime

MORNING = datetime(2026, 11, 20, 9, tzinfo=UTC)
LONG_AGO = OutOfRangeTime.parse("0044-03-15 12:00:00+00 BC")


class Thing(Row):
    id: int
    name: str = msgspec.field(name="label")
    title: Annotated[str, Meta(extra={"empty": "Untitled"})]
    note: str | None
    size: int
    tags: list[str]
    made_at: datetime
    seen_at: datetime | None


class LargerThing(Thing):
    computed: ClassVar = ("parts",)

    weight: int
    parts: list[Thing]


def row(**values: object) -> dict[str, Any]:
    return dict.fromkeys(LargerThing.__struct_fields__) | {"id": 7} | values


def as_json(value: object) -> Any:
    return orjson.loads(write_json(value))


def test_columns_are_the_attributes_that_are_not_computed() -> None:
    assert Thing.columns == ("id", "name", "title", "note", "size", "tags", "made_at", "seen_at")
    assert LargerThing.columns == (*Thing.columns, "weight")


def test_a_row_becomes_the_fields_and_nothing_else() -> None:
    values = {"name": "a", "title": "b", "note": "c", "size": 1, "tags": ["d"], "made_at": MORNING, "seen_at": MORNING}
    written = "2026-11-20T09:00:00Z"
    shown = {"id": 7, "label": "a", "title": "b", "note": "c", "size": 1, "tags": ["d"], "made_at": written, "seen_at": written}
    thing = Thing.from_row(row(**values))
    assert as_json(thing) == shown
    assert as_json(LargerThing.from_row(row(**values, weight=2, parts=[thing]))) == {**shown, "weight": 2, "parts": [shown]}


def test_a_null_is_shown_only_where_the_type_allows_it() -> None:
    assert Thing.from_row(row()) == Thing(7, "", "Untitled", None, 0, [], UNKNOWN_TIME, None)


@pytest.mark.parametrize("unknown", [None, LONG_AGO], ids=["null", "out of range"])
def test_an_unknown_time_is_replaced_by_another_of_the_row(unknown: datetime | None) -> None:
    class Change(Row):
        created_at: datetime
        updated_at: datetime

    assert Change.from_row({"created_at": unknown, "updated_at": MORNING}) == Change(MORNING, MORNING)
    assert Change.from_row({"created_at": MORNING, "updated_at": unknown}) == Change(MORNING, MORNING)


def test_a_time_that_no_client_can_read_is_null_where_the_type_allows_it() -> None:
    assert as_json(Thing.from_row(row(seen_at=LONG_AGO)))["seen_at"] is None


def test_a_text_of_another_class_is_written_as_text() -> None:
    assert write_json({"snippet": mark_safe("<b>")}) == b'{"snippet":"<b>"}'
