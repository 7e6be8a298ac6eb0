"""Pages of a list: `?limit=` rows after `?cursor=`."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django.http import QueryDict

from conversations.keyset import SortKey, after_key, decode_cursor, encode_cursor
from conversations.message_batches import cut_batch, select_batch
from conversations.prepared_statements import PreparedStatement, Rows
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
    select: PreparedStatement,
    params: QueryDict,
    *,
    kind: str,
    time_field: str,
    default: int,
    most: int = MAX_LIMIT,
    offset: int = 0,
    **values: Any,
) -> Page:
    """Read `?limit=` rows after `?cursor=`. One query.

    `select` returns `select_page` and gets `after_time` and `after_id` besides the values.
    """
    limit = read_whole_number(params, "limit", default, least=1, most=most)
    rows = select(**_after_cursor(params, kind), limit=limit + 1, offset=offset, **values)
    return _page(rows[:limit], limit, kind, time_field, has_more=len(rows) > limit)


def read_key(
    select: PreparedStatement, params: QueryDict, *, kind: str, time_field: str, offset: int, **values: Any
) -> SortKey | None:
    """Return the key of the row that comes `offset` rows after the first one after `?cursor=`, or None if there are fewer.

    `select` is as for `read_page`.
    """
    rows = select(**_after_cursor(params, kind), limit=1, offset=offset, **values)
    return SortKey(time=rows[0][time_field], id=rows[0]["id"]) if rows else None


def select_page(
    ordered: QuerySet[Any], columns: Sequence[str], time_field: str, after_time: datetime | None, after_id: UUID | None
) -> Rows:
    """Return the rows after a sort key, newest first. `ordered` is in the order of (`time_field`, `id`), which are read too."""
    following = _after_key(ordered, time_field, after_time, after_id)
    rows: Rows = following.values(*dict.fromkeys((*columns, "id", time_field)))
    return rows


def read_message_page(
    select: PreparedStatement,
    params: QueryDict,
    *,
    kind: str,
    default: int,
    most: int = MAX_LIMIT,
    **values: Any,
) -> Page:
    """Read `?limit=` messages after `?cursor=`, fewer if their contents exceed MAX_BATCH_BYTES. One query.

    `select` returns `select_message_page` and gets `after_time` and `after_id` besides the values.
    """
    limit = read_whole_number(params, "limit", default, least=1, most=most)
    return message_page(select(**_after_cursor(params, kind), limit=limit + 1, offset=0, **values), limit, kind)


def select_message_page(
    messages: MessageQuerySet,
    columns: Sequence[str],
    after_time: datetime | None,
    after_id: UUID | None,
    *,
    descending: bool = True,
) -> Rows:
    """Return the messages after a sort key. `id` and `created_at` are read besides the columns."""
    following = _after_key(messages, "created_at", after_time, after_id, descending=descending)
    return select_batch(following, list(dict.fromkeys((*columns, "id", "created_at"))), None, descending=descending)


def message_page(rows: list[dict[str, Any]], limit: int, kind: str) -> Page:
    """Return the page that starts the rows of `select_batch`."""
    batch, has_more = cut_batch(rows, limit)
    return _page(batch, limit, kind, "created_at", has_more=has_more)


def cut_page(page: Page, count: int, *, kind: str, time_field: str) -> Page:
    """Return a page with only its first `count` rows."""
    has_more = count < len(page.rows)
    return _page(page.rows[:count], page.limit, kind, time_field, has_more=True) if has_more else page


def _after_cursor(params: QueryDict, kind: str) -> dict[str, Any]:
    key = read_cursor(params, kind)
    return {"after_time": key and key.time, "after_id": key and key.id}


def _after_key(
    rows: Any, time_field: str, after_time: datetime | None, after_id: UUID | None, *, descending: bool = True
) -> Any:
    if after_id is None:
        return rows
    return rows.filter(after_key(SortKey(after_time, after_id), time_field, descending=descending))


def _page(rows: list[dict[str, Any]], limit: int, kind: str, time_field: str, *, has_more: bool) -> Page:
    last = rows[-1] if has_more else None
    cursor = None if last is None else encode_cursor(kind, SortKey(time=last[time_field], id=last["id"]))
    return Page(rows=rows, limit=limit, next=cursor)
