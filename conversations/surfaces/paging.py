"""Query parameters and pages. An invalid parameter is a 400 that names it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet
from django.http import QueryDict
from rest_framework.exceptions import ValidationError

from conversations.keyset import SortKey, after_key, decode_cursor, encode_cursor
from conversations.message_batches import cut_batch, select_batch
from conversations.querysets import MessageQuerySet

MAX_LIMIT = 200
# Skipping rows costs as much as reading them. Beyond this offset, clients use cursors.
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


@dataclass(frozen=True, slots=True)
class Page:
    """Rows in the order they were asked in, and the cursor of those that follow."""

    rows: list[dict[str, Any]]
    limit: int
    next: str | None


def read_page(
    ordered: QuerySet[Any],
    columns: Sequence[str],
    params: QueryDict,
    *,
    kind: str,
    time_field: str,
    descending: bool = True,
    default: int,
    most: int = MAX_LIMIT,
    offset: int = 0,
) -> Page:
    """Read `?limit=` rows behind `?cursor=`. `ordered` is in the order of (`time_field`, `id`). One query."""
    limit = read_whole_number(params, "limit", default, least=1, most=most)
    ordered = _behind_cursor(ordered, params, kind, time_field, descending=descending)
    rows = list(ordered.values(*columns)[offset : offset + limit + 1])
    return _page(rows[:limit], limit, kind, time_field, has_more=len(rows) > limit)


def read_message_page(
    messages: MessageQuerySet,
    columns: Sequence[str],
    params: QueryDict,
    *,
    kind: str,
    descending: bool = True,
    default: int,
    most: int = MAX_LIMIT,
) -> Page:
    """Read `?limit=` messages behind `?cursor=`: fewer where their contents exceed MAX_BATCH_BYTES. One query."""
    limit = read_whole_number(params, "limit", default, least=1, most=most)
    messages = _behind_cursor(messages, params, kind, "created_at", descending=descending)
    return message_page(list(select_batch(messages, columns, limit, descending=descending)), limit, kind)


def message_page(rows: list[dict[str, Any]], limit: int, kind: str) -> Page:
    """Make a page of the rows that `select_batch` found."""
    batch, has_more = cut_batch(rows, limit)
    return _page(batch, limit, kind, "created_at", has_more=has_more)


def cut_page(page: Page, count: int, *, kind: str, time_field: str) -> Page:
    """End a page behind its first `count` rows."""
    has_more = count < len(page.rows)
    return _page(page.rows[:count], page.limit, kind, time_field, has_more=True) if has_more else page


def _behind_cursor(rows: Any, params: QueryDict, kind: str, time_field: str, *, descending: bool) -> Any:
    key = read_cursor(params, kind)
    return rows if key is None else rows.filter(after_key(key, time_field, descending=descending))


def _page(rows: list[dict[str, Any]], limit: int, kind: str, time_field: str, *, has_more: bool) -> Page:
    last = rows[-1] if has_more else None
    following = None if last is None else encode_cursor(kind, SortKey(time=last[time_field], id=last["id"]))
    return Page(rows=rows, limit=limit, next=following)
