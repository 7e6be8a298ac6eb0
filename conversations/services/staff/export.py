"""Writing conversations out, a batch at a time: no connection is held between two batches, however slow the reader is."""

import csv
import io
import re
from collections.abc import Iterator, Sequence
from typing import Any, Literal
from uuid import UUID

import orjson

from chatapi.database import release_connections
from conversations.keyset import SortKey, after_key
from conversations.message_batches import cut_batch, select_batch
from conversations.models import Conversation, Message
from conversations.querysets import MessageQuerySet

ExportFormat = Literal["csv", "jsonl"]

CONVERSATION_COLUMNS = ("id", "user_id", "title", "model_tag", "is_favorited", "created_at", "updated_at")
MESSAGE_COLUMNS = (
    "id",
    "role",
    "content",
    "status",
    "error_code",
    "is_active",
    "parent_id",
    "model_tag",
    "token_count",
    "prompt_tokens",
    "first_token_ms",
    "inference_time_ms",
    "finish_reason",
    "feedback",
    "feedback_comment",
    "created_at",
)
CSV_HEADER = ("conversation_id", "user_id", "title", *(f"message_{column}" for column in MESSAGE_COLUMNS))
CONVERSATION_BATCH = 100
MESSAGE_BATCH = 500
# A spreadsheet takes a cell that begins so for a formula, and what users wrote must not run on a colleague's machine. Many
# spreadsheets split at semicolons or tabs instead of commas, and then also at line breaks inside of a quoted cell: what begins
# after one of these is a cell there.
FORMULA_BEGINNING = re.compile(r"(^|[;,|\t\r\n])([ \u00a0\u3000]*)(?=[=+\-@\uff1d\uff0b\uff0d\uff20\t\r])")


def export_conversations(*, conversation_ids: Sequence[UUID], export_format: ExportFormat) -> Iterator[bytes]:
    """Yield the conversations with all their messages, in the order of the ids: one row, or one JSON line, a message.

    One that has been deleted meanwhile is left out; one without messages is one line without a message.
    """
    # Whatever the request has used so far.
    release_connections()
    if export_format == "csv":
        yield _csv_lines([CSV_HEADER])
    for start in range(0, len(conversation_ids), CONVERSATION_BATCH):
        batch = conversation_ids[start : start + CONVERSATION_BATCH]
        found = {row["id"]: row for row in Conversation.objects.filter(id__in=batch).values(*CONVERSATION_COLUMNS)}
        for conversation in (found[conversation_id] for conversation_id in batch if conversation_id in found):
            for messages in _message_batches(conversation["id"]):
                # The reader may take its time from here on.
                release_connections()
                yield _lines(conversation, messages, export_format)
    release_connections()


def _message_batches(conversation_id: UUID) -> Iterator[list[dict[str, Any]]]:
    """Yield all messages of a conversation, oldest first; one empty batch where there are none."""
    messages = Message.objects.in_conversation(conversation_id)
    batch, has_more = _read_batch(messages)
    yield batch
    while has_more:
        last = SortKey(time=batch[-1]["created_at"], id=batch[-1]["id"])
        batch, has_more = _read_batch(messages.filter(after_key(last, "created_at", descending=False)))
        yield batch


def _read_batch(messages: MessageQuerySet) -> tuple[list[dict[str, Any]], bool]:
    return cut_batch(list(select_batch(messages, MESSAGE_COLUMNS, MESSAGE_BATCH, descending=False)), MESSAGE_BATCH)


def _lines(conversation: dict[str, Any], messages: list[dict[str, Any]], export_format: ExportFormat) -> bytes:
    if export_format == "csv":
        about = (conversation["id"], conversation["user_id"], conversation["title"])
        nothing = ("",) * len(MESSAGE_COLUMNS)
        rows = [(*about, *(message[column] for column in MESSAGE_COLUMNS)) for message in messages] or [(*about, *nothing)]
        return _csv_lines(rows)
    records: list[dict[str, Any]] = [{"conversation": conversation, "message": message} for message in messages]
    if not messages:
        records = [{"conversation": conversation, "message": None}]
    # Times that Python does not know are written as PostgreSQL writes them.
    return b"".join(orjson.dumps(record, default=str, option=orjson.OPT_APPEND_NEWLINE) for record in records)


def _csv_lines(rows: Sequence[Sequence[Any]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows([_cell(value) for value in row] for row in rows)
    return text.getvalue().encode()


def _cell(value: Any) -> Any:
    if isinstance(value, str):
        return FORMULA_BEGINNING.sub(r"\1\2'", value)
    return value.isoformat() if hasattr(value, "isoformat") else value
