"""What the declared type of a field says, as msgspec reads it: for reading bodies, filling rows and describing both.

Besides msgspec's own rules (`Meta(min_length=…, ge=…)`), a `Meta(extra={…})` may hold:

- `read`: a function that makes the value from what JSON holds, instead of msgspec;
- `then`: a function that makes the value from what msgspec read;
- `empty`: what a row shows for a null.

`read` and `then` raise `ValidationError` with a sentence for the client.
"""

from typing import Any, NamedTuple

from msgspec import NODEFAULT, UNSET, inspect


class FieldType(NamedTuple):
    kind: inspect.Type
    is_nullable: bool
    # What `Meta` says for the OpenAPI file, and its `extra`.
    schema: dict[str, Any]
    extra: dict[str, Any]

    @classmethod
    def of(cls, declared: inspect.Type) -> "FieldType":
        """Take off what surrounds the type of the values: `Annotated` and `| None`."""
        is_nullable, schema, extra = False, dict[str, Any](), dict[str, Any]()
        while True:
            if isinstance(declared, inspect.Metadata):
                schema = {**(declared.extra_json_schema or {}), **schema}
                extra = {**(declared.extra or {}), **extra}
                declared = declared.type
            elif isinstance(declared, inspect.UnionType) and declared.includes_none:
                others = tuple(each for each in declared.types if not isinstance(each, inspect.NoneType))
                is_nullable, declared = True, others[0] if len(others) == 1 else inspect.UnionType(others)
            else:
                return cls(declared, is_nullable or isinstance(declared, inspect.AnyType), schema, extra)


def default_of(field: inspect.Field) -> Any:
    """Return the default that clients should know, or UNSET."""
    return UNSET if field.default is NODEFAULT or field.default is None else field.default


def expected(kind: inspect.Type) -> str:
    """Say in a sentence what a value of this type must be."""
    match kind:
        case inspect.StrType():
            return _within("Must be a text", kind.min_length, kind.max_length, "characters")
        case inspect.IntType():
            return _between("Must be a whole number", kind.ge, kind.le)
        case inspect.FloatType():
            return _between("Must be a number", kind.ge, kind.le)
        case inspect.BoolType():
            return "Must be true or false."
        case inspect.LiteralType():
            return f"Must be one of {', '.join(map(str, kind.values))}."
        case inspect.ListType():
            return _within("Must be a list", kind.min_length, kind.max_length, "items")
        case inspect.DictType() | inspect.StructType():
            return "Must be an object."
        case _:
            return "This value is not valid."


def _within(what: str, least: int | None, most: int | None, unit: str) -> str:
    if most is None:
        return f"{what}."
    return f"{what} of {least} to {most} {unit}." if least else f"{what} of at most {most} {unit}."


def _between(what: str, least: float | None, most: float | None) -> str:
    if least is None:
        return f"{what}." if most is None else f"{what} of at most {most}."
    return f"{what} of at least {least}." if most is None else f"{what} from {least} to {most}."
