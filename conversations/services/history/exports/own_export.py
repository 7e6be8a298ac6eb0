"""A user's own history as a download: the lines of `export_history`, Markdown, or one conversation as JSON.

Principle: the reader may be slow, so no connection is held while it reads. Pieces of about PIECE_BYTES are made one by one,
each in a short transaction. Conversations come from the least to the most recent activity: one that gets a turn meanwhile
comes again, and none is missed. A download that ends early can go on behind a conversation (`after`). Only a download with
the last line of our files is complete (see `seals`).

Columns that are about the service or for its staff are left out; an import gives them their defaults.
"""

import logging
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from django.db import DatabaseError, InterfaceError, connection, transaction
from django.db.models import BigIntegerField
from django.db.models.expressions import RawSQL

from chatapi.database.connections import release_connections
from chatapi.permits.limit import Limit
from chatapi.permits.permit import Permits
from chatapi.permits.shares import fair_share
from conversations.exceptions import ExportInProgress, TooManyExports
from conversations.keyset import SortKey, after_key
from conversations.models import Conversation, Message
from conversations.querysets import MessageQuerySet
from conversations.services.history.exports.export import (
    HEADING_COLUMNS,
    PARAGRAPH_COLUMNS,
    heading,
    own_instructions,
    paragraph,
)
from conversations.services.history.exports.export_holds import Hold
from conversations.services.history.files.id_arrays import IdArray
from conversations.services.history.files.json_lines import CONVERSATION, MESSAGE, history_lines, row_lines
from conversations.services.history.files.seals import HEADER, Section
from conversations.services.history.id_batches import Walk, prefer_indexes
from conversations.services.history.imports.instruction_lines import instruction_lines

logger = logging.getLogger(__name__)

OwnFormat = Literal["jsonl", "markdown"]
ChatFormat = Literal["json", "markdown"]
Pieces = Generator[bytes, None, None]

INTERNAL_COLUMNS = frozenset(
    {
        "stop_marked_at",
        "stop_marked_key",
        "worker",
        "heartbeat_at",
        "stop_requested",
        "is_followed",
        "followed_at",
        "request_fingerprint",
        "upstream_finish",
        "upstream_status",
        "upstream_code",
        "trace_id",
        "feedback_handled_at",
        "feedback_handled_by",
        "feedback_note",
    }
)
PIECE_BYTES = 256 * 1024
WINDOW = 100
# Conversations with more messages or texts are read in several pieces.
FEW_MESSAGES = 200
MESSAGES_AT_ONCE = 500
ROW_BYTES = 1000
LONGEST_S = 3600.0
# Each has a piece in memory.
MOST_AT_ONCE = 32
CUT_NOTE = b"---\n\nThe export ended early. Ask for the rest with `after`.\n"

TEXT_BYTES_SQL = f"octet_length(messages.content) + octet_length(messages.reasoning) + {ROW_BYTES}"
# How large the conversations are, as far as FEW_MESSAGES tell.
SIZES_SQL = f"""
SELECT wanted.id, count(sized.size), coalesce(sum(sized.size), 0)
FROM unnest(%s::uuid[]) WITH ORDINALITY AS wanted (id, place) LEFT JOIN LATERAL (
    SELECT {TEXT_BYTES_SQL} AS size FROM messages WHERE conversation_id = wanted.id LIMIT {FEW_MESSAGES + 1}
) AS sized ON true
GROUP BY wanted.id, place ORDER BY place
"""  # noqa: S608  # only constants go into it

EXPORTS = Limit(
    what="running exports: 32", per="worker; a user gets at most half of what is free", refusal=TooManyExports, retry_after_s=5
)
exports = Permits(EXPORTS, fair_share(MOST_AT_ONCE))
ONE_OF_ALL = Limit(
    what="running exports of everything: one", per="user, on all nodes", refusal=ExportInProgress, retry_after_s=10
)


class Download:
    """An iterator of pieces. `close` ends it, also before its first piece, and gives back what it holds."""

    def __init__(self, pieces: Pieces, on_close: Callable[[], None], end: bytes) -> None:
        """`end` follows if the pieces end early."""
        self._pieces = pieces
        self._on_close = on_close
        self._end = end
        self._is_closed = False

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self._is_closed:
            raise StopIteration
        try:
            return next(self._pieces)
        except StopIteration:
            self.close()
            raise
        except (DatabaseError, InterfaceError) as failure:
            logger.warning("an export ended early", extra={"error": type(failure).__name__})
            self.close()
            return self._end

    def close(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            try:
                self._pieces.close()
            finally:
                self._on_close()
                release_connections()


def export_own(
    *, user_id: UUID, file_format: OwnFormat, after: tuple[datetime | None, UUID] | None = None, limit: int | None = None
) -> Download:
    """Begin a user's export. Close it. Raises `ExportInProgress`, `TooManyExports`.

    Temporary conversations and those in the trash are not part of it. `limit` is the greatest number of conversations.
    """
    hold = Hold(user_id)
    permit = exports.acquire(user_id)
    try:
        if not hold.take():
            raise ONE_OF_ALL.refuse()
    except BaseException:
        permit.release()
        raise
    conversations = Conversation.objects.owned_by(user_id).filter(expires_at__isnull=True)
    windows = _windows(Walk(conversations, batch_size=WINDOW, after=after), hold, limit)
    # A range behind a conversation is a part of the file, and the beginning has the user's instructions.
    owner = user_id if after is None else None
    pieces = _lines(windows, owner) if file_format == "jsonl" else _markdown(windows, owner)

    def on_close() -> None:
        permit.release()
        try:
            hold.release()
        except (DatabaseError, InterfaceError):
            logger.warning("the end of an export was not noted", exc_info=True)

    return Download(pieces, on_close, CUT_NOTE if file_format == "markdown" else b"")


def export_one(*, conversation_id: UUID, user_id: UUID, chat_format: ChatFormat) -> Download:
    """Begin the export of a user's conversation, which the caller has checked. Close it. Raises `TooManyExports`.

    As JSON: `{"conversation": …, "messages": […]}` with all versions, oldest first. Markdown has the active branch.
    """
    permit = exports.acquire(user_id)
    pieces = _json_document(conversation_id) if chat_format == "json" else _markdown(iter([[conversation_id]]))
    return Download(pieces, permit.release, CUT_NOTE if chat_format == "markdown" else b"")


class _EndedEarly(DatabaseError):
    pass


def _windows(walk: Walk, hold: Hold, limit: int | None) -> Iterator[list[UUID]]:
    """Yield ids of conversations, at most `limit`."""
    ends_at = time.monotonic() + LONGEST_S
    left = limit
    while left is None or left > 0:
        if time.monotonic() > ends_at or not hold.renew():
            raise _EndedEarly
        walk.batch_size = WINDOW if left is None else min(WINDOW, left)
        with transaction.atomic():
            prefer_indexes()
            window = list(walk.next_window())
        if not window:
            return
        for group in _groups(window):
            if not hold.renew():
                raise _EndedEarly
            yield group
        left = None if left is None else left - len(window)


def _groups(window: Sequence[UUID]) -> Iterator[list[UUID]]:
    """Yield ids together whose conversations make one piece. A large conversation is alone."""
    with connection.cursor() as cursor:
        cursor.execute(SIZES_SQL, [list(window)])
        sizes = cursor.fetchall()
    group: list[UUID] = []
    gathered = 0
    for conversation_id, messages, size in sizes:
        size = PIECE_BYTES if messages > FEW_MESSAGES else size + ROW_BYTES
        if group and gathered + size > PIECE_BYTES:
            yield group
            group, gathered = [], 0
        group.append(conversation_id)
        gathered += size
    if group:
        yield group


def _lines(groups: Iterator[list[UUID]], owner: UUID | None) -> Pieces:
    section = Section()

    def counted(lines: Iterable[bytes]) -> bytes:
        found = list(lines)
        for line in found:
            section.add(line)
        return b"".join(found)

    beginning = HEADER + (counted(instruction_lines(owner)) if owner else b"")
    release_connections()
    yield beginning
    for group in groups:
        if len(group) > 1:
            piece = counted(_read(history_lines(IdArray.of(group), INTERNAL_COLUMNS)))
            release_connections()
            yield piece
            continue
        piece = counted(_read(row_lines(CONVERSATION, IdArray.of(group), INTERNAL_COLUMNS)))
        for ids in _message_batches(Message.objects.in_conversation(group[0])):
            piece += counted(_read(row_lines(MESSAGE, IdArray.of(ids), INTERNAL_COLUMNS)))
            release_connections()
            yield piece
            piece = b""
        if piece:
            release_connections()
            yield piece
    release_connections()
    yield section.trailer()


def _json_document(conversation_id: UUID) -> Pieces:
    (line,) = _read(row_lines(CONVERSATION, IdArray.of([conversation_id]), INTERNAL_COLUMNS)) or [b'{"conversation":null}\n']
    piece = line[:-2] + b',"messages":['
    separator = b"\n"
    for ids in _message_batches(Message.objects.in_conversation(conversation_id)):
        lines = _read(row_lines(MESSAGE, IdArray.of(ids), INTERNAL_COLUMNS))
        release_connections()
        for line in lines:
            piece += separator + line[len(b'{"message":') : -2]
            separator = b",\n"
        yield piece
        piece = b""
    release_connections()
    yield piece + b"\n]}\n"


def _read(lines: Generator[bytes, None, None]) -> list[bytes]:
    with transaction.atomic(), closing(lines) as found:
        return list(found)


def _markdown(groups: Iterator[list[UUID]], owner: UUID | None = None) -> Pieces:
    if owner and (instructions := own_instructions(owner)):
        release_connections()
        yield instructions.encode()
    for group in groups:
        conversations = Conversation.objects.only(*HEADING_COLUMNS).in_bulk(group)
        for conversation_id in (each for each in group if each in conversations):
            piece = heading(conversations[conversation_id])
            for ids in _message_batches(Message.objects.in_conversation(conversation_id).active_branch()):
                messages = Message.objects.only(*PARAGRAPH_COLUMNS).in_bulk(ids)
                piece += "".join(paragraph(messages[message_id]) for message_id in ids if message_id in messages)
                release_connections()
                yield piece.encode()
                piece = ""
            if piece:
                release_connections()
                yield piece.encode()


def _message_batches(messages: MessageQuerySet) -> Iterator[list[UUID]]:
    """Yield the ids of messages, oldest first, as many together as make one piece."""
    size = RawSQL(TEXT_BYTES_SQL, [], output_field=BigIntegerField())  # noqa: S611  # a constant
    rows = messages.oldest_first().annotate(size=size).values_list("created_at", "id", "size")
    last: SortKey | None = None
    while True:
        following = rows if last is None else rows.filter(after_key(last, "created_at", descending=False))
        batch: list[Any] = []
        gathered = 0
        found = list(following[:MESSAGES_AT_ONCE])
        for row in found:
            if batch and gathered + row[2] > PIECE_BYTES:
                break
            batch.append(row)
            gathered += row[2]
        if not batch:
            return
        yield [message_id for _, message_id, _ in batch]
        if len(batch) == len(found) < MESSAGES_AT_ONCE:
            return
        last = SortKey(batch[-1][0], batch[-1][1])
