"""Request bodies: how they are read, and fields that accept only their own JSON type, without conversion."""

import json
import re
from collections.abc import Callable, Mapping
from functools import cache
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, TypeVar

from msgspec import Meta
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.fields import SkipField, empty
from rest_framework.request import Request

from chatapi.api.bodies import Body as TypedBody
from conversations.models import SESSION_ID_PATTERN
from conversations.visible_text import is_blank

MAX_SESSION_ID_CHARACTERS = 200
SESSION_ID_PROBLEM = "Must be 1 to 200 ASCII letters, digits and . _ : @ - (the first: a letter, digit, _ or -), not `stream`."

# What clients of other services may choose, and the values that change nothing here. A surface that lacks a field refuses it.
_CHOICES: Mapping[str, tuple[Any, ...]] = MappingProxyType(
    {
        "model": (),
        "system": (),
        "system_prompt": (),
        "instructions": (),
        "temperature": (),
        "max_tokens": (),
        "max_completion_tokens": (),
        "max_output_tokens": (),
        "n": (1,),
        "seed": (),
        "stop": (),
        "stop_sequences": (),
        "top_k": (),
        "top_p": (1,),
        "min_p": (0,),
        "logit_bias": (),
        "logprobs": (),
        "top_logprobs": (0,),
        "presence_penalty": (0,),
        "frequency_penalty": (0,),
        "repetition_penalty": (1,),
        "response_format": ({"type": "text"},),
        "modalities": (["text"],),
        "reasoning": (),
        "reasoning_effort": (),
        # The service always leaves out what does not fit the model.
        "truncation": ("auto",),
        "tools": (),
        # There are no tools to choose from.
        "tool_choice": ("auto", "none"),
        "functions": (),
        "function_call": ("auto", "none"),
    }
)


def choices_except(*supported: str) -> Mapping[str, tuple[Any, ...]]:
    """Return the fields that a surface refuses because it lacks what they choose, with the values that it accepts."""
    return MappingProxyType({name: harmless for name, harmless in _CHOICES.items() if name not in supported})


def harmless_values(*names: str) -> Mapping[str, tuple[Any, ...]]:
    """Return these fields, with the values that change nothing."""
    return MappingProxyType({name: _CHOICES[name] for name in names})


def visible(longest: int) -> Meta:
    """Return the rules of a text with at least one visible character."""
    return Meta(min_length=1, max_length=longest, extra={"check": _refuse_blank})


def _refuse_blank(text: str) -> None:
    if is_blank(text):
        raise ValidationError(["This field may not be blank."])


def _read_session_id(given: Any) -> str:
    if not isinstance(given, str) or not re.fullmatch(SESSION_ID_PATTERN, given) or given.endswith("\n"):
        raise ValidationError([SESSION_ID_PROBLEM])
    return given


# The name that a caller gives to a session or a chat.
SessionId = Annotated[
    str, Meta(min_length=1, max_length=MAX_SESSION_ID_CHARACTERS, pattern=SESSION_ID_PATTERN, extra={"read": _read_session_id})
]


def ignored(description: str = "Accepted and ignored.") -> Meta:
    """Return the rules of a value that is not inspected, because it may be nested too deeply for Python."""
    return _any_value(description, lambda _: None)


def unsupported(description: str = "Not supported: only an empty value is accepted.") -> Meta:
    """Return the rules of something that changes the answer and that the service does not do."""
    return _any_value(description, _refuse_choice)


def _refuse_choice(given: Any) -> None:
    if not _is_harmless({"": given}, "", ()):
        raise ValidationError([_refusal(())])


def _any_value(description: str, read: Callable[[Any], Any]) -> Meta:
    return Meta(description=description, extra_json_schema={"writeOnly": True}, extra={"read": read})


class RefusingBody(TypedBody):
    # Refuses choices of other services' clients that the service does not have.

    # Fields that are not in the OpenAPI file and would change the answer, with the values that change nothing.
    unsupported: ClassVar[Mapping[str, tuple[Any, ...]]] = MappingProxyType({})

    @classmethod
    def prepare(cls, given: Mapping[str, Any]) -> Mapping[str, Any]:
        if named := given.keys() & cls.unsupported.keys():
            refuse_unsupported(given, {name: cls.unsupported[name] for name in cls.unsupported if name in named})
        return given


Body = TypeVar("Body", bound=serializers.Serializer[Any])


def read_body(body: type[Body], request: Request) -> Body:
    """Return the validated body of a request. Raises a 400 that names each invalid field."""
    # DRF would copy the fields for each body. Validation does not change them, so all bodies of a class share them.
    read = object.__new__(body)
    vars(read).update(vars(_empty_body(body)), initial_data=request.data)
    read.is_valid(raise_exception=True)
    # The request may wait for its answer for minutes, and what is ignored of its body may take 20 times its length.
    read.initial_data = None
    vars(request).update(_data=None, _full_data=None)
    return read


@cache
def _empty_body(body: type[Body]) -> Body:
    made = body()
    assert made.fields  # made at the first use, and kept in the attributes
    return made


class BodySerializer(serializers.Serializer[Any]):
    # The base of all bodies. No docstring: the OpenAPI file would repeat it as the description of each subclass.

    # Fields that are not in the OpenAPI file and would change the answer, with the values that change nothing.
    unsupported: ClassVar[Mapping[str, tuple[Any, ...]]] = MappingProxyType({})

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, dict) and (named := data.keys() & self.unsupported.keys()):
            refuse_unsupported(data, {name: self.unsupported[name] for name in self.unsupported if name in named})
        return super().to_internal_value(data)

    @property
    def _writable_fields(self) -> list[Any]:
        fields = self.fields.values()
        given = getattr(self, "initial_data", None)
        if not isinstance(given, dict):
            return list(fields)
        # DRF would also ask the optional fields that the body leaves out, which are most.
        return [field for field in fields if field.field_name in given or field.required or field.default is not empty]


class ClosedSerializer(BodySerializer):
    # Refuses unknown fields. The OpenAPI file says so with `additionalProperties: false`, see `openapi.ClosedSchemaExtension`.

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, dict) and (unknown := sorted(set(data) - set(self.fields))):
            raise serializers.ValidationError({name[:100]: ["This field does not exist."] for name in unknown[:10]})
        return super().to_internal_value(data)


class StrictCharField(serializers.CharField):
    """A string, not trimmed. Refuses other types and, unless `allow_blank` is set, strings without a visible character."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("trim_whitespace", False)
        super().__init__(**options)

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        if not self.allow_blank and is_blank(data):
            self.fail("blank")
        return super().to_internal_value(data)


class SessionIdField(serializers.RegexField):
    """The name that a caller gives to a session or a chat."""

    default_error_messages = {
        "invalid": "Must be 1 to 200 ASCII letters, digits and . _ : @ - (the first: a letter, digit, _ or -), not `stream`."
    }

    def __init__(self) -> None:
        super().__init__(SESSION_ID_PATTERN, max_length=MAX_SESSION_ID_CHARACTERS, trim_whitespace=False)

    def to_internal_value(self, data: Any) -> str:
        # The pattern's $ also matches before a line break at the end.
        if not isinstance(data, str) or data.endswith("\n"):
            self.fail("invalid")
        return super().to_internal_value(data)


class StrictBooleanField(serializers.BooleanField):
    def to_internal_value(self, data: Any) -> bool:
        if not isinstance(data, bool):
            self.fail("invalid", input=data)
        return data


class StrictIntegerField(serializers.IntegerField):
    def to_internal_value(self, data: Any) -> int:
        # A bool is an int to Python, not to JSON.
        if isinstance(data, bool) or not isinstance(data, int):
            self.fail("invalid")
        return data


class StrictFloatField(serializers.FloatField):
    def to_internal_value(self, data: Any) -> float:
        if isinstance(data, bool) or not isinstance(data, int | float):
            self.fail("invalid")
        return float(data)


class StrictChoiceField(serializers.ChoiceField):
    """One of several strings. Values of other types are not inspected, because they may be nested too deeply for Python."""

    default_error_messages = {"invalid_choice": "Must be one of the documented choices."}

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid_choice")
        return str(super().to_internal_value(data))


def refuse_unsupported(given: Mapping[str, Any], unsupported: Mapping[str, tuple[Any, ...]]) -> None:
    """Raise a 400 that names each field of a body that would change the answer and that the service does not support."""
    problems = {name: [_refusal(unsupported[name])] for name in unsupported if not _is_harmless(given, name, unsupported[name])}
    if problems:
        raise serializers.ValidationError(problems)


def _refusal(harmless: tuple[Any, ...]) -> str:
    accepted = " or ".join(json.dumps(value) for value in harmless)
    return (
        f"The service does not support this. Only {accepted} is accepted." if accepted else "The service does not support this."
    )


def _is_harmless(given: Mapping[str, Any], name: str, harmless: tuple[Any, ...]) -> bool:
    value = given.get(name)
    # `0` is empty in Python, but as `top_p` it has a meaning.
    is_empty = value is None or value is False or (isinstance(value, str | list) and not value)
    is_object_of_nulls = isinstance(value, dict) and all(member is None for member in value.values())
    # Python takes true for 1.
    return is_empty or is_object_of_nulls or (value is not True and value in harmless)


class UnsupportedField(serializers.JSONField):
    """Something that changes the answer and that the service does not do. Only empty values are accepted."""

    def __init__(self, help_text: str = "Not supported: only an empty value is accepted.") -> None:
        super().__init__(required=False, allow_null=True, write_only=True, help_text=help_text)

    def run_validation(self, data: Any = empty) -> Any:
        super().run_validation(data)
        # There is nothing to tell the view.
        raise SkipField

    def to_internal_value(self, data: Any) -> Any:
        if not _is_harmless({"": data}, "", ()):
            raise serializers.ValidationError(_refusal(()))
        return None


class IgnoredField(serializers.JSONField):
    """A value that clients may send and the service ignores.

    It is not inspected, because it may be nested too deeply for Python.
    """

    def __init__(self, help_text: str = "Accepted and ignored.") -> None:
        super().__init__(required=False, allow_null=True, write_only=True, help_text=help_text)

    def to_internal_value(self, data: Any) -> Any:
        return None
