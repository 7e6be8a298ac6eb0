"""Writing conversations out, a batch at a time: no connection is held between two batches, however slow the reader is."""

import csv
import io
import re
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Literal
from uuid import UUID

import orjson

from chatapi.database.connections import release_connections
from conversations.keyset import SortKey, after_key
from conversations.message_batches import cut_batch, select_batch
from conversations.models import Conversation, Message
from conversations.querysets import MessageQuerySet
from conversations.services.replica_reads import read_for_anyone
from inference_proxy.replies.streams import escape_line_ends

ExportFormat = Literal["csv", "jsonl"]

# JSON lines have every column.
CONVERSATION_COLUMNS = tuple(field.attname for field in Conversation._meta.concrete_fields)
MESSAGE_COLUMNS = tuple(field.attname for field in Message._meta.concrete_fields)
CSV_CONVERSATION_COLUMNS = ("id", "user_id", "title")
CSV_MESSAGE_COLUMNS = (
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
    "reasoning",
    # "client" for an answer that a client brought: it is not the model's.
    "source",
    "tool_calls",
)
CSV_HEADER = ("conversation_id", "user_id", "title", *(f"message_{column}" for column in CSV_MESSAGE_COLUMNS))
CONVERSATION_BATCH = 100
MESSAGE_BATCH = 500
# Spreadsheets read such a cell as a formula, and what users wrote must not run on a colleague's machine. Many spreadsheets
# split at semicolons or tabs instead of commas, and then also at line breaks in a quoted cell, so a cell may begin after
# any of these.
FORMULA_BEGINNING = re.compile(r"(^|[;,|\t\r\n])([ \u00a0\u3000]*)(?=[=+\-@\uff1d\uff0b\uff0d\uff20\t\r])")


def export_conversations(*, conversation_ids: Sequence[UUID], export_format: ExportFormat) -> Iterator[bytes]:
    """Yield the conversations with all their messages, in the order of the ids: one row, or one JSON line, a message.

    Conversations that were deleted in the meantime are left out. A conversation without messages is one line.
    """
    # The request may have used a connection before.
    release_connections()
    if export_format == "csv":
        yield csv_lines([CSV_HEADER])
    for start in range(0, len(conversation_ids), CONVERSATION_BATCH):
        batch = conversation_ids[start : start + CONVERSATION_BATCH]
        found = read_for_anyone(partial(_read_conversations, batch, export_format))
        for conversation in (found[conversation_id] for conversation_id in batch if conversation_id in found):
            for messages in _message_batches(conversation["id"], export_format):
                # The reader may be slow.
                release_connections()
                yield _lines(conversation, messages, export_format)
    release_connections()


def _read_conversations(conversation_ids: Sequence[UUID], export_format: ExportFormat) -> dict[UUID, dict[str, Any]]:
    columns = CSV_CONVERSATION_COLUMNS if export_format == "csv" else CONVERSATION_COLUMNS
    rows = list(Conversation.objects.filter(id__in=conversation_ids).values(*columns))
    for row in rows:
        if row["user_id"] is None and "session_id" in row:
            # Without a token, anyone who knows the id of a session can read and write it.
            row["session_id"] = None
    return {row["id"]: row for row in rows}


def _message_batches(conversation_id: UUID, export_format: ExportFormat) -> Iterator[list[dict[str, Any]]]:
    """Yield all messages of a conversation, oldest first; one empty batch if there are none."""
    columns = CSV_MESSAGE_COLUMNS if export_format == "csv" else MESSAGE_COLUMNS
    messages = Message.objects.in_conversation(conversation_id)
    batch, has_more = _read_batch(messages, columns)
    yield batch
    while has_more:
        last = SortKey(time=batch[-1]["created_at"], id=batch[-1]["id"])
        batch, has_more = _read_batch(messages.filter(after_key(last, "created_at", descending=False)), columns)
        yield batch


def _read_batch(messages: MessageQuerySet, columns: Sequence[str]) -> tuple[list[dict[str, Any]], bool]:
    rows = read_for_anyone(lambda: list(select_batch(messages, columns, MESSAGE_BATCH, descending=False)))
    return cut_batch(rows, MESSAGE_BATCH)


def _lines(conversation: dict[str, Any], messages: list[dict[str, Any]], export_format: ExportFormat) -> bytes:
    if export_format == "csv":
        about = tuple(conversation[column] for column in CSV_CONVERSATION_COLUMNS)
        nothing = ("",) * len(CSV_MESSAGE_COLUMNS)
        rows = [(*about, *(message[column] for column in CSV_MESSAGE_COLUMNS)) for message in messages] or [(*about, *nothing)]
        return csv_lines(rows)
    for message in messages:
        if message["tool_calls"] is not None:
            # It is read as text.
            message["tool_calls"] = orjson.Fragment(message["tool_calls"])
    records: list[dict[str, Any]] = [{"conversation": conversation, "message": message} for message in messages]
    if not messages:
        records = [{"conversation": conversation, "message": None}]
    # Times that Python can't represent are written as PostgreSQL writes them.
    lines = b"".join(orjson.dumps(record, default=str, option=orjson.OPT_APPEND_NEWLINE) for record in records)
    return escape_line_ends(lines)


def csv_lines(rows: Sequence[Sequence[Any]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows([_cell(value) for value in row] for row in rows)
    return text.getvalue().encode()


def _cell(value: Any) -> Any:
    if isinstance(value, str):
        return FORMULA_BEGINNING.sub(r"\1\2'", value)
    return value.isoformat() if hasattr(value, "isoformat") else value
