"""Pages of rows in (time, id) order, and the opaque cursors between them.

A cursor names the last row of a page by its sort key, so a page costs the same wherever it lies, and rows that come or go
in between neither shift nor repeat others.
"""

import base64
import binascii
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from django.http import QueryDict
from rest_framework.exceptions import ValidationError

from conversations.exceptions import BadCursor

MAX_LIMIT = 200
# Skipping rows costs as much as reading them; further in, cursors go on.
MAX_OFFSET = 10_000
MAX_CURSOR_CHARACTERS = 200
UUID_FORM = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


@dataclass(frozen=True, slots=True)
class SortKey:
    """Where a row stands in its list; rows of the predecessor may lack a time."""

    time: datetime | None
    id: UUID


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


def encode_cursor(kind: str, key: SortKey) -> str:
    time = None if key.time is None else key.time.isoformat()
    return base64.urlsafe_b64encode(orjson.dumps([kind, time, str(key.id)])).decode().rstrip("=")


def decode_cursor(cursor: str, kind: str) -> SortKey:
    try:
        if len(cursor) > MAX_CURSOR_CHARACTERS or not cursor.isascii():
            raise BadCursor
        parts: Any = orjson.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
        found_kind, time, row_id = parts
        if found_kind != kind or not isinstance(row_id, str) or not UUID_FORM.fullmatch(row_id):
            raise BadCursor
        moment = None if time is None else datetime.fromisoformat(time)
        if moment is not None and moment.tzinfo is None:
            raise BadCursor
    except (binascii.Error, ValueError, TypeError, OverflowError):
        raise BadCursor from None
    return SortKey(time=moment, id=UUID(row_id))


def parse_id(value: str) -> UUID | None:
    """Return an id in its canonical form as a UUID, None where it is malformed."""
    return UUID(value) if UUID_FORM.fullmatch(value) else None
