"""Request bodies: how they are read, and fields that accept only their own JSON type, without conversion."""

from functools import cache
from typing import Any, TypeVar

from rest_framework import serializers
from rest_framework.fields import SkipField, empty
from rest_framework.request import Request

from conversations.models import SESSION_ID_PATTERN
from conversations.visible_text import is_blank

MAX_SESSION_ID_CHARACTERS = 200

Body = TypeVar("Body", bound=serializers.Serializer[Any])


def read_body(body: type[Body], request: Request) -> Body:
    """Return the validated body of a request. Raises a 400 that names each invalid field."""
    # DRF would copy the fields for each body. Validation does not change them, so all bodies of a class share them.
    read = object.__new__(body)
    vars(read).update(vars(_empty_body(body)), initial_data=request.data)
    read.is_valid(raise_exception=True)
    return read


@cache
def _empty_body(body: type[Body]) -> Body:
    made = body()
    assert made.fields  # made at the first use, and kept in the attributes
    return made


class BodySerializer(serializers.Serializer[Any]):
    # The base of all bodies. No docstring: the OpenAPI file would repeat it as the description of each subclass.

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


class UnsupportedField(serializers.JSONField):
    """Something that changes the answer and that the service does not do. Only empty and `harmless` values are accepted."""

    def __init__(
        self, help_text: str = "Not supported: only an empty value is accepted.", harmless: tuple[str | int, ...] = ()
    ) -> None:
        super().__init__(required=False, allow_null=True, write_only=True, help_text=help_text)
        self._harmless = harmless

    def run_validation(self, data: Any = empty) -> Any:
        super().run_validation(data)
        # There is nothing to tell the view.
        raise SkipField

    def to_internal_value(self, data: Any) -> Any:
        # `0` is empty in Python, but as `top_p` it has a meaning.
        is_empty = data is None or data is False or (isinstance(data, str | list | dict) and not data)
        is_harmless = isinstance(data, str | int | float) and not isinstance(data, bool) and data in self._harmless
        if not is_empty and not is_harmless:
            raise serializers.ValidationError("The service does not support this.")
        return None


class IgnoredField(serializers.JSONField):
    """A value that clients may send and the service ignores.

    It is not inspected, because it may be nested too deeply for Python.
    """

    def __init__(self, help_text: str = "Accepted and ignored.") -> None:
        super().__init__(required=False, allow_null=True, write_only=True, help_text=help_text)

    def to_internal_value(self, data: Any) -> Any:
        return None
