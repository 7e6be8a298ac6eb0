"""The types of bodies and responses are the components of the OpenAPI file."""

from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal
from uuid import UUID

from msgspec import UNSET, Meta, Struct, UnsetType

from chatapi.api.openapi import schema_of_object


class Leaf(Struct, forbid_unknown_fields=True):
    kind: Literal["oak", "beech"]


class Tree(Struct):
    ref_name: ClassVar = "Plant"

    id: UUID
    name: Annotated[str, Meta(min_length=1, max_length=9, description="What it is called.")]
    height: Annotated[float, Meta(ge=0, le=200)] | None
    leaves: Annotated[list[Leaf], Meta(max_length=2)]
    first: Annotated[Leaf, Meta(description="The first leaf.")]
    last: Leaf | None
    kind: Literal["oak", "beech"] | None
    felled_at: datetime | UnsetType = UNSET
    is_old: bool = False
    age: int | None = None
    more: dict[str, Any] | UnsetType = UNSET
    shape: Annotated[tuple[str, ...] | None, Meta(extra_json_schema={"oneOf": [{"type": "string"}]})] = None


def refer(kind: type) -> dict[str, Any]:
    return {"$ref": kind.__name__}


def test_a_type_becomes_a_schema() -> None:
    assert schema_of_object(Tree, refer) == {
        "type": "object",
        "properties": {
            "id": {"type": "string", "format": "uuid"},
            "name": {"type": "string", "minLength": 1, "maxLength": 9, "description": "What it is called."},
            "height": {"type": ["number", "null"], "format": "double", "minimum": 0, "maximum": 200},
            "leaves": {"type": "array", "items": {"$ref": "Leaf"}, "maxItems": 2},
            "first": {"allOf": [{"$ref": "Leaf"}], "description": "The first leaf."},
            "last": {"oneOf": [{"$ref": "Leaf"}, {"type": "null"}]},
            "kind": {
                "type": ["string", "null"],
                "enum": ["beech", "oak", None],
                "description": "* `beech` - beech\n* `oak` - oak",
            },
            "felled_at": {"type": "string", "format": "date-time"},
            "is_old": {"type": "boolean", "default": False},
            "age": {"type": ["integer", "null"]},
            "more": {"type": "object", "additionalProperties": {}},
            "shape": {"oneOf": [{"type": "string"}, {"type": "null"}]},
        },
        "required": ["first", "height", "id", "kind", "last", "leaves", "name"],
    }


def test_a_closed_type_says_so() -> None:
    assert schema_of_object(Leaf, refer)["additionalProperties"] is False
