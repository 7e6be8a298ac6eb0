"""Request fields that accept only their own JSON type, without conversion; ids in paths."""

from typing import Any
from uuid import UUID

from rest_framework import serializers

from conversations.keyset import parse_id


def require_id(value: str, missing: type[Exception]) -> UUID:
    """Parse an id. A malformed id matches nothing, so it raises `missing`."""
    parsed = parse_id(value)
    if parsed is None:
        raise missing
    return parsed


class StrictCharField(serializers.CharField):
    """A string, unchanged. Refuses numbers and, unless it may be blank, strings of white space only."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("trim_whitespace", False)
        super().__init__(**options)

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        if not self.allow_blank and not data.strip():
            self.fail("blank")
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
    """One of several words. Other types are not inspected, because they may be nested more deeply than Python can handle."""

    default_error_messages = {"invalid_choice": "Must be one of the documented choices."}

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid_choice")
        return str(super().to_internal_value(data))


class IgnoredField(serializers.JSONField):
    """A value that clients may send and the service ignores.

    It is not inspected, because it may be nested more deeply than Python can handle.
    """

    def __init__(self, help_text: str = "Accepted and ignored.") -> None:
        super().__init__(required=False, allow_null=True, write_only=True, help_text=help_text)

    def to_internal_value(self, data: Any) -> None:
        return None
