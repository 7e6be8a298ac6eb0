"""A schema's fields are the JSON, the columns, and what replaces a null."""

from datetime import UTC, datetime

import pytest
from rest_framework import serializers

from chatapi.database.timestamps import OutOfRangeTime
from conversations.surfaces.responses import UNKNOWN_TIME, RowSchema

MORNING = datetime(2026, 11, 20, 9, tzinfo=UTC)


class Thing(RowSchema):
    id = serializers.IntegerField()
    label = serializers.CharField(source="name")
    title = serializers.CharField(initial="Untitled")
    note = serializers.CharField(allow_null=True)
    size = serializers.IntegerField()
    made_at = serializers.DateTimeField()
    seen_at = serializers.DateTimeField(allow_null=True)


class LargerThing(Thing):
    weight = serializers.IntegerField()


def row(**values: object) -> dict[str, object]:
    return dict.fromkeys(LargerThing.columns) | {"id": 7} | values


def test_columns_are_the_fields_under_the_names_of_the_database() -> None:
    assert Thing.columns == ("id", "name", "title", "note", "size", "made_at", "seen_at")
    assert LargerThing.columns == (*Thing.columns, "weight")


def test_a_row_becomes_the_fields_and_nothing_else() -> None:
    values = {"name": "a", "title": "b", "note": "c", "size": 1, "made_at": MORNING, "seen_at": MORNING, "weight": 2}
    shown = {"id": 7, "label": "a", "title": "b", "note": "c", "size": 1, "made_at": MORNING, "seen_at": MORNING}
    assert Thing.from_row(row(**values)) == shown
    assert LargerThing.from_row(row(**values)) == {**shown, "weight": 2}


def test_a_null_is_shown_only_where_the_schema_allows_it() -> None:
    assert LargerThing.from_row(row()) == {
        "id": 7,
        "label": "",
        "title": "Untitled",
        "note": None,
        "size": 0,
        "made_at": UNKNOWN_TIME,
        "seen_at": None,
        "weight": 0,
    }


@pytest.mark.parametrize("unknown", [None, OutOfRangeTime.parse("0044-03-15 12:00:00+00 BC")])
def test_an_unknown_time_is_replaced_by_another_of_the_row(unknown: object) -> None:
    class Change(RowSchema):
        created_at = serializers.DateTimeField()
        updated_at = serializers.DateTimeField()

    expected = {"created_at": MORNING, "updated_at": MORNING}
    assert Change.from_row({"created_at": unknown, "updated_at": MORNING}) == expected
    assert Change.from_row({"created_at": MORNING, "updated_at": unknown}) == expected


def test_an_object_is_read_by_its_attributes_except_what_is_computed() -> None:
    class Found:
        id, name, title, note, size, made_at, seen_at = 7, "a", "b", None, 1, MORNING, None

    assert Thing.from_object(Found())["title"] == "b"
    assert Thing.from_object(Found(), title="computed")["title"] == "computed"
