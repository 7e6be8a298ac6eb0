"""A class describes a request body. Clients learn of every field that is wrong."""

from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from msgspec import UNSET, Meta, UnsetType
from rest_framework.exceptions import ValidationError

from chatapi.api.bodies import Body, read_object


def read_shout(given: Any) -> str:
    if given != "hello":
        raise ValidationError(["Say hello."])
    return "HELLO"


def half(number: int) -> int:
    if number % 2:
        raise ValidationError(["Must be even."])
    return number // 2


class Place(Body, forbid_unknown_fields=True):
    town: Annotated[str, Meta(min_length=1, max_length=10)]
    number: Annotated[int, Meta(ge=0, le=10, extra={"then": half})] | None = None


class Order(Body, kw_only=True):
    title: Annotated[str, Meta(max_length=5)]
    note: Annotated[str, Meta(max_length=5)] | UnsetType | None = UNSET
    amount: Annotated[int, Meta(ge=1, le=3)] = 1
    price: Annotated[float, Meta(ge=0, le=2)] | None = None
    is_urgent: bool | UnsetType = UNSET
    color: Literal["red", "green"] | None = None
    ids: Annotated[list[UUID], Meta(max_length=2)] | UnsetType = UNSET
    shout: Annotated[str, Meta(extra={"read": read_shout})] | UnsetType = UNSET
    anything: Any = None
    place: Place | None = None

    def check(self) -> None:
        if self.amount == 3 and self.is_urgent is True:
            raise ValidationError({"amount": ["At most 2 if it is urgent."]})


def problems_of(given: Any, kind: type[Body] = Order) -> Any:
    with pytest.raises(ValidationError) as refusal:
        read_object(kind, given)
    return refusal.value.detail


def test_a_body_has_the_values_of_the_client_and_the_defaults() -> None:
    body = read_object(
        Order, {"title": "Tea", "price": 1, "shout": "hello", "place": {"town": "Ulm", "number": 4}, "unknown": 1}
    )
    assert body == Order(title="Tea", price=1.0, shout="HELLO", place=Place("Ulm", 2))
    assert isinstance(body.price, float)


def test_absent_is_not_null() -> None:
    assert read_object(Order, {"title": "Tea"}).note is UNSET
    assert read_object(Order, {"title": "Tea", "note": None}).note is None
    assert "note" not in read_object(Order, {"title": "Tea"}).chosen()
    assert read_object(Place, {"town": "Ulm"}).chosen() == {"town": "Ulm", "number": None}


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ("title", 7, "Must be a text of at most 5 characters."),
        ("title", "longer", "Must be a text of at most 5 characters."),
        ("title", None, "This field may not be null."),
        ("title", "a\x00b", "Null characters are not allowed."),
        ("amount", "1", "Must be a whole number from 1 to 3."),
        ("amount", True, "Must be a whole number from 1 to 3."),
        ("amount", 1.0, "Must be a whole number from 1 to 3."),
        ("amount", 10**30, "Must be a whole number from 1 to 3."),
        ("price", "1", "Must be a number from 0 to 2."),
        ("price", False, "Must be a number from 0 to 2."),
        ("price", 2.1, "Must be a number from 0 to 2."),
        ("is_urgent", "true", "Must be true or false."),
        ("is_urgent", 1, "Must be true or false."),
        ("is_urgent", None, "This field may not be null."),
        ("color", "blue", "Must be one of green, red."),
        ("color", ["red"], "Must be one of green, red."),
        ("ids", "x", "Must be a list of at most 2 items."),
        ("ids", [7], "Must be a list of at most 2 items."),
        ("shout", 7, "Say hello."),
        ("place", [], "Must be an object."),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_nothing_is_converted(field: str, value: Any, problem: str) -> None:
    assert problems_of({"title": "Tea", field: value}) == {field: [problem]}


def test_every_problem_is_named() -> None:
    given = {"price": -1, "amount": 0, "place": {"number": 3, "street": "x"}}
    assert problems_of(given) == {
        "title": ["This field is required."],
        "amount": ["Must be a whole number from 1 to 3."],
        "price": ["Must be a number from 0 to 2."],
        "place": {"street": ["This field does not exist."]},
    }
    assert problems_of({"number": 3}, Place) == {"town": ["This field is required."], "number": ["Must be even."]}


@pytest.mark.parametrize("given", [None, [], "title", 7, True], ids=repr)
def test_only_an_object_is_a_body(given: Any) -> None:
    assert problems_of(given) == ["Must be an object."]


def test_fields_that_do_not_go_together_are_refused() -> None:
    assert problems_of({"title": "Tea", "amount": 3, "is_urgent": True}) == {"amount": ["At most 2 if it is urgent."]}


def test_what_nobody_reads_may_be_nested_too_deeply_for_python() -> None:
    deep: dict[str, Any] = {}
    for _ in range(5000):
        deep = {"a": deep}
    assert read_object(Order, {"title": "Tea", "anything": deep}).anything is deep
    assert problems_of({"title": deep}) == {"title": ["Must be a text of at most 5 characters."]}
