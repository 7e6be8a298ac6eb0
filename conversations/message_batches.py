"""Messages read in batches that are bounded in rows and in bytes of text.

A message may hold a mebibyte, and one of the predecessor's more. A batch ends at its row limit or where its texts exceed the
byte budget, but it always has one message, so that the next batch makes progress.
"""

from collections.abc import Sequence
from itertools import takewhile
from typing import Any

from django.db.models import F, QuerySet

from conversations.querysets import MessageQuerySet

Row = dict[str, Any]
# A request holds the texts that it reads in memory several times over, and a slow client keeps them there.
MAX_BATCH_BYTES = 4 * 1024 * 1024
TEXT_COLUMNS = ("content", "reasoning")
READ = "_read"


def select_batch(
    messages: MessageQuerySet, columns: Sequence[str], limit: int | None, *, descending: bool = True
) -> "QuerySet[Any, Row]":
    """Return the query of a batch in the order of (`created_at`, `id`): one row more than `limit`, to see if there are more.

    Without `limit`, the caller cuts the rows. `columns` has `content` and perhaps `reasoning`. They come as `content_read` and
    `reasoning_read`, which are null in the rows that exceed MAX_BATCH_BYTES.
    """
    order = [F("created_at").desc(), F("id").desc()] if descending else [F("created_at").asc(), F("id").asc()]
    texts = [column for column in columns if column in TEXT_COLUMNS]
    read = [f"{column}{READ}" if column in texts else column for column in columns]
    rows: QuerySet[Any, Row] = messages.order_by(*order).with_texts_within(MAX_BATCH_BYTES, order, texts).values(*read)
    return rows if limit is None else rows[: limit + 1]


def cut_batch(rows: list[Row], limit: int) -> tuple[list[Row], bool]:
    """Return what belongs to the batch of the rows that `select_batch` found, and whether there are more."""
    fitting = takewhile(lambda row: row["content_read"] is not None, rows[:limit])
    batch = [{name.removesuffix(READ): value for name, value in row.items()} for row in fitting]
    return batch, len(batch) < len(rows)
