"""Query parameters, read strictly: what is not as documented is a 400 that names it."""

import re

from django.http import QueryDict
from rest_framework.exceptions import ValidationError

from conversations.keyset import SortKey, decode_cursor

MAX_LIMIT = 200
# Skipping rows costs as much as reading them; further in, cursors go on.
MAX_OFFSET = 10_000


def read_whole_number(params: QueryDict, name: str, default: int, *, least: int, most: int) -> int:
    """Return a query parameter. Raises a 400 that names it."""
    value = params.get(name)
    if value is None:
        return default
    if not re.fullmatch(r"\d{1,10}", value, re.ASCII) or not least <= int(value) <= most:
        raise ValidationError({name: [f"Must be a whole number from {least} to {most}."]})
    return int(value)


def read_text(params: QueryDict, name: str, *, longest: int) -> str:
    value = params.get(name, "")
    if len(value) > longest:
        raise ValidationError({name: [f"Must have at most {longest} characters."]})
    if "\x00" in value:
        raise ValidationError({name: ["Null characters are not allowed."]})
    return value


def read_flag(params: QueryDict, name: str) -> bool | None:
    value = params.get(name)
    if value is None:
        return None
    if value not in ("true", "false"):
        raise ValidationError({name: ["Must be true or false."]})
    return value == "true"


def read_cursor(params: QueryDict, kind: str) -> SortKey | None:
    """Return the sort key that a cursor of this kind of list holds. Raises `BadCursor`."""
    value = params.get("cursor")
    return None if value is None else decode_cursor(value, kind)
