"""Pages of rows in (time, id) order, and the opaque cursors between them.

A cursor names the last row of a page by its sort key, so a page costs the same wherever it lies, and rows that come or go
in between neither shift nor repeat others.
"""

import base64
import binascii
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import orjson
from django.db.models import Q

from chatapi.database.timestamps import OutOfRangeTime
from conversations.exceptions import BadCursor
from conversations.ids import UUID_FORM

MAX_CURSOR_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class SortKey:
    """The position of a row in its list. Rows of the predecessor may have no time."""

    time: datetime | None
    id: UUID


def after_key(key: SortKey, time_field: str, *, descending: bool) -> Q:
    """Return the condition for the rows that come after (time, id) in that order.

    Rows without a time sort as the newest in PostgreSQL, in both directions.
    """
    time = key.time
    comparison = "lt" if descending else "gt"
    beyond_id = Q(**{f"id__{comparison}": key.id})
    if time is None:
        same = Q(**{f"{time_field}__isnull": True}) & beyond_id
        return same | Q(**{f"{time_field}__isnull": False}) if descending else same
    beyond = Q(**{f"{time_field}__{comparison}": time}) | (Q(**{time_field: time}) & beyond_id)
    # The first part bounds the index scan; the second decides among equals.
    bound = Q(**{f"{time_field}__{comparison}e": time})
    return bound & beyond if descending else (bound & beyond) | Q(**{f"{time_field}__isnull": True})


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
        moment = None if time is None else _read_time(time)
        if moment is not None and not isinstance(moment, OutOfRangeTime):
            if moment.tzinfo is None:
                raise BadCursor
            # PostgreSQL takes fewer time zones than Python does, and no moment that leaves the calendar.
            moment = moment.astimezone(UTC)
    except (binascii.Error, ValueError, TypeError, OverflowError):
        raise BadCursor from None
    return SortKey(time=moment, id=UUID(row_id))


def _read_time(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return OutOfRangeTime.parse(text)
