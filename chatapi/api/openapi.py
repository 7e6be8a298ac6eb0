"""What the OpenAPI generator must be told: our types as components, and our own classes."""

from collections.abc import Callable
from typing import Any, get_args, get_origin

import msgspec
from drf_spectacular.extensions import OpenApiAuthenticationExtension, OpenApiSerializerExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import append_meta, build_choice_description_list, safe_ref
from drf_spectacular.utils import extend_schema_serializer
from msgspec import UNSET, inspect
from rest_framework import serializers

from chatapi.api.field_types import FieldType, default_of

Schema = dict[str, Any]


class BearerScheme(OpenApiAuthenticationExtension):
    target_class = "chatapi.auth.authentication.BearerAuthentication"
    name = "bearer"

    def get_security_definition(self, auto_schema: object) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}


@extend_schema_serializer(many=False)
class Component(serializers.BaseSerializer[Any]):
    """A type where the generator expects a serializer: `Component(Message)`, or with `many=True` a list."""


def as_component(described: Any) -> Any:
    """Return a type, or `list[…]` of one, as the generator takes it. Everything else stays as it is."""
    if isinstance(described, type) and issubclass(described, msgspec.Struct):
        return Component(described)
    if get_origin(described) is list:
        return Component(get_args(described)[0], many=True)
    return described


class ComponentExtension(OpenApiSerializerExtension):
    target_class = "chatapi.api.openapi.Component"

    def get_name(self, auto_schema: AutoSchema, direction: Any) -> str:
        kind = self.target.instance
        return str(vars(kind).get("ref_name", kind.__name__.removesuffix("Body")))

    def get_identity(self, auto_schema: AutoSchema, direction: Any) -> Any:
        return self.target.instance

    def map_serializer(self, auto_schema: AutoSchema, direction: Any) -> Schema:
        def refer(kind: type) -> Schema:
            component: Any = Component(kind)
            reference: Schema = auto_schema.resolve_serializer(component, direction).ref
            return reference

        return schema_of_object(self.target.instance, refer)


def schema_of_object(kind: type[msgspec.Struct], refer: Callable[[type], Schema]) -> Schema:
    """Return the JSON Schema of a type. `refer` returns the one of a type inside of it."""
    described = inspect.type_info(kind)
    assert isinstance(described, inspect.StructType)
    schema: Schema = {"type": "object", "properties": {}}
    for field in described.fields:
        default = default_of(field)
        shown = {} if default is UNSET else {"default": default}
        schema["properties"][field.encode_name] = {**schema_of(field.type, refer), **shown}
    if required := sorted(field.encode_name for field in described.fields if field.required):
        schema["required"] = required
    return {**schema, "additionalProperties": False} if described.forbid_unknown_fields else schema


def schema_of(declared: inspect.Type, refer: Callable[[type], Schema]) -> Schema:
    kind, is_nullable, said, _ = FieldType.of(declared)
    if said.keys() & {"type", "oneOf"}:
        # A type that is written out, because what clients send is not what is made of it.
        schema, said = said, {}
    else:
        schema = _schema_of_kind(kind, refer)
    if isinstance(kind, inspect.EnumType | inspect.LiteralType):
        # The generator makes components of these, and expects them in this form.
        listed = build_choice_description_list([(value, value) for value in schema["enum"]])
        said = {**said, "description": f"{said['description']}\n\n{listed}" if "description" in said else listed}
        schema["enum"] = [*schema["enum"], None] if is_nullable else schema["enum"]
    if is_nullable and not isinstance(kind, inspect.AnyType):
        said = {**said, "nullable": True}
    described: Schema = safe_ref(append_meta(schema, said))
    return described


def _schema_of_kind(kind: inspect.Type, refer: Callable[[type], Schema]) -> Schema:
    match kind:
        case inspect.StrType():
            return {"type": "string", **_rules(kind, min_length="minLength", max_length="maxLength", pattern="pattern")}
        case inspect.IntType():
            return {"type": "integer", **_rules(kind, ge="minimum", le="maximum")}
        case inspect.FloatType():
            return {"type": "number", "format": "double", **_rules(kind, ge="minimum", le="maximum")}
        case inspect.BoolType():
            return {"type": "boolean"}
        case inspect.UUIDType():
            return {"type": "string", "format": "uuid"}
        case inspect.DateTimeType():
            return {"type": "string", "format": "date-time"}
        case inspect.DateType():
            return {"type": "string", "format": "date"}
        case inspect.ListType():
            rules = _rules(kind, min_length="minItems", max_length="maxItems")
            return {"type": "array", "items": schema_of(kind.item_type, refer), **rules}
        case inspect.DictType():
            return {"type": "object", "additionalProperties": schema_of(kind.value_type, refer)}
        case inspect.EnumType():
            return {"type": "string", "enum": [member.value for member in kind.cls]}
        case inspect.LiteralType():
            return {"type": "string", "enum": list(kind.values)}
        case inspect.StructType():
            return refer(kind.cls)
        case inspect.AnyType():
            return {}
    raise TypeError(f"There is no JSON Schema for {kind}.")


def _rules(kind: inspect.Type, **names: str) -> Schema:
    """Return the rules that a type has, by their names in JSON Schema."""
    return {theirs: rule for ours, theirs in names.items() if (rule := getattr(kind, ours)) is not None}
