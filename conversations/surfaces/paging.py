"""Pages of a list: `?limit=` rows after `?cursor=`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet
from django.http import QueryDict

from conversations.keyset import SortKey, after_key, decode_cursor, encode_cursor
from conversations.message_batches import cut_batch, select_batch
from conversations.querysets import MessageQuerySet
from conversations.surfaces.query_parameters import read_whole_number

MAX_LIMIT = 200
# Skipping rows costs as much as reading them. Beyond this offset, clients use cursors.
MAX_OFFSET = 10_000


def read_cursor(params: QueryDict, kind: str) -> SortKey | None:
    """Return the sort key in `?cursor=`. Raises `BadCursor`, also for a cursor of another kind of list."""
    value = params.get("cursor")
    return None if value is None else decode_cursor(value, kind)


@dataclass(frozen=True, slots=True)
class Page:
    """The rows of a page, in order, and the cursor of the next page."""

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
    """Read `?limit=` rows after `?cursor=`. `ordered` is in the order of (`time_field`, `id`); both are read too. One query."""
    limit = read_whole_number(params, "limit", default, least=1, most=most)
    ordered = _after_cursor(ordered, params, kind, time_field, descending=descending)
    read = dict.fromkeys((*columns, "id", time_field))
    rows = list(ordered.values(*read)[offset : offset + limit + 1])
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
    """Read `?limit=` messages after `?cursor=`, fewer if their contents exceed MAX_BATCH_BYTES. One query.

    Reads `id` and `created_at` besides the columns.
    """
    limit = read_whole_number(params, "limit", default, least=1, most=most)
    messages = _after_cursor(messages, params, kind, "created_at", descending=descending)
    read = list(dict.fromkeys((*columns, "id", "created_at")))
    return message_page(list(select_batch(messages, read, limit, descending=descending)), limit, kind)


def message_page(rows: list[dict[str, Any]], limit: int, kind: str) -> Page:
    """Return the page that starts the rows of `select_batch`."""
    batch, has_more = cut_batch(rows, limit)
    return _page(batch, limit, kind, "created_at", has_more=has_more)


def cut_page(page: Page, count: int, *, kind: str, time_field: str) -> Page:
    """Return a page with only its first `count` rows."""
    has_more = count < len(page.rows)
    return _page(page.rows[:count], page.limit, kind, time_field, has_more=True) if has_more else page


def _after_cursor(rows: Any, params: QueryDict, kind: str, time_field: str, *, descending: bool) -> Any:
    key = read_cursor(params, kind)
    return rows if key is None else rows.filter(after_key(key, time_field, descending=descending))


def _page(rows: list[dict[str, Any]], limit: int, kind: str, time_field: str, *, has_more: bool) -> Page:
    last = rows[-1] if has_more else None
    cursor = None if last is None else encode_cursor(kind, SortKey(time=last[time_field], id=last["id"]))
    return Page(rows=rows, limit=limit, next=cursor)
