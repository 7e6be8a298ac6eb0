"""Request bodies: a subclass of `Body` describes one, and `read_body` makes it of what a client sent.

Principle: no value is coerced: "1" and true are not numbers. One response names every invalid field, so msgspec converts one
field at a time: it stops at the first problem. Unknown fields are ignored; a class with `forbid_unknown_fields=True` refuses
them. A field with the default UNSET may be absent. A field of the type `… | None` may be null.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import cache, partial
from typing import Any, NamedTuple, TypeVar, cast

import msgspec
from msgspec import UNSET, inspect
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request

from chatapi.api.field_types import FieldType, expected

MOST_UNKNOWN = 10
LONGEST_NAME = 100

Kind = TypeVar("Kind", bound="Body")


class Body(msgspec.Struct):
    # The base of all bodies, and of the objects in them.

    @classmethod
    def prepare(cls, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return what is read of a JSON object. Raises `ValidationError` to refuse it before its fields are read."""
        return given

    def check(self) -> None:
        """Raise `ValidationError` if the fields do not go together."""

    def chosen(self) -> dict[str, Any]:
        """Return the fields that the client gave, or that have a default."""
        return {name: value for name in self.__struct_fields__ if (value := getattr(self, name)) is not UNSET}


def read_body(kind: type[Kind], request: Request) -> Kind:
    """Return the body of a request. Raises a 400 that names each invalid field."""
    return read_object(kind, read_json(request))


def read_json(request: Request) -> Any:
    """Parse the body of a request, once. An absent body is an empty object.

    `request.data` would keep all objects, twenty times as large as the body, while the request waits for its reply: minutes.
    """
    stream, (parser,) = request.stream, request.parsers or ()
    return {} if stream is None else parser.parse(stream, parser_context=request.parser_context)


def read_object(kind: type[Kind], given: Any) -> Kind:
    """Return a JSON object as a `Body`. Raises `ValidationError`."""
    if not isinstance(given, dict):
        raise ValidationError(["Must be an object."])
    given = kind.prepare(given)
    fields = _fields_of(kind)
    if kind.__struct_config__.forbid_unknown_fields:
        _refuse_unknown(given.keys() - {field.name for field in fields})
    values: dict[str, Any] = {}
    problems: dict[str, Any] = {}
    for field in fields:
        if field.name in given:
            try:
                values[field.attribute] = field.read(given[field.name])
            except ValidationError as problem:
                problems[field.name] = problem.detail
        elif field.is_required:
            problems[field.name] = ["This field is required."]
    if problems:
        raise ValidationError(problems)
    body = kind(**values)
    body.check()
    return body


def _refuse_unknown(names: Iterable[str]) -> None:
    if unknown := sorted(names)[:MOST_UNKNOWN]:
        raise ValidationError({name[:LONGEST_NAME]: ["This field does not exist."] for name in unknown})


class _Field(NamedTuple):
    name: str
    attribute: str
    is_required: bool
    read: Callable[[Any], Any]


@cache
def _fields_of(kind: type[Body]) -> tuple[_Field, ...]:
    described = inspect.type_info(kind)
    assert isinstance(described, inspect.StructType)
    hints = {field.name: field.type for field in msgspec.structs.fields(kind)}
    return tuple(
        _Field(field.encode_name, field.name, field.required, partial(_read, FieldType.of(field.type), hints[field.name]))
        for field in described.fields
    )


def _read(declared: FieldType, hint: Any, given: Any) -> Any:
    if given is None and not isinstance(declared.kind, inspect.AnyType):
        if declared.is_nullable:
            return None
        raise ValidationError(["This field may not be null."])
    if read := declared.extra.get("read"):
        return read(given)
    if isinstance(declared.kind, inspect.StructType):
        return read_object(cast(type[Body], declared.kind.cls), given)
    try:
        value = msgspec.convert(given, hint)
    except msgspec.ValidationError:
        # msgspec's own text may change, and names Python's types.
        raise ValidationError([declared.extra.get("problem") or expected(declared.kind)]) from None
    if isinstance(value, str) and "\x00" in value:
        raise ValidationError(["Null characters are not allowed."])
    then = declared.extra.get("then")
    return then(value) if then else value
