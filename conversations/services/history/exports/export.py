"""Write history to a file: as JSON lines, which `importing` can restore completely, or as Markdown for people."""

import gzip
import os
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast
from uuid import UUID

from django.db import transaction

from chatapi.database.timestamps import OutOfRangeTime
from conversations.models import Conversation, Message, UserInstructions
from conversations.services.history.files.id_arrays import IdArray
from conversations.services.history.files.json_lines import history_lines
from conversations.services.history.files.seals import HEADER, Section
from conversations.services.history.id_batches import DEFAULT_BATCH_SIZE, Walk, prefer_indexes
from conversations.services.history.imports.instruction_lines import instruction_lines
from inference_proxy.protocols.tool_calls import read_call_id, read_calls

Format = Literal["jsonl", "markdown"]
STANDARD_OUTPUT = "-"
MESSAGES_AT_ONCE = 500
HEADING_COLUMNS = ("title", "user_id", "created_at", "updated_at", "tags")
PARAGRAPH_COLUMNS = ("role", "status", "content", "reasoning", "created_at", "source", "tool_calls")
SPEAKERS = {"user": "User", "assistant": "Assistant", "system": "System", "tool": "Tool"}


@dataclass(slots=True)
class ExportResult:
    """What was written so far."""

    conversations: int = 0
    messages: int = 0
    is_complete: bool = False


def export_history(
    *,
    target: BinaryIO,
    file_format: Format = "jsonl",
    user_id: UUID | None = None,
    is_anonymous: bool = False,
    since: datetime | None = None,
    before: datetime | None = None,
    batch_size: int = DEFAULT_BATCH_SIZE,
    should_stop: Callable[[], bool] = lambda: False,
    on_batch: Callable[[ExportResult], None] = lambda result: None,
) -> ExportResult:
    """Write conversations with all their messages, those with the least recent activity first.

    `since` and `before` limit `updated_at`. Each batch is one snapshot. A conversation that gets a new turn during the export
    may be in the file twice, with and without that turn.
    """
    conversations = Conversation.objects.all()
    if user_id is not None or is_anonymous:
        conversations = conversations.owned_by(user_id)
    if since is not None or before is not None:
        # Conversations without `updated_at` belong to no period.
        conversations = conversations.filter(updated_at__isnull=False)
    walk = Walk(conversations, batch_size=batch_size, since=since, before=before)
    section = Section()
    result = ExportResult()
    if file_format == "jsonl":
        target.write(HEADER)
    if not is_anonymous and since is None and before is None:
        _write_instructions(target, user_id, file_format, section)
    while not should_stop():
        with transaction.atomic():
            prefer_indexes()
            window = walk.next_window()
            if window and file_format == "jsonl":
                _write_lines(target, window, section, result)
            elif window:
                _write_markdown(target, window, result)
        if not window:
            if file_format == "jsonl":
                target.write(section.trailer())
            result.is_complete = True
            break
        on_batch(result)
    return result


@contextmanager
def export_file(path: str) -> Iterator[BinaryIO]:
    """Open the file to export to. It is compressed if its name ends in .gz. `-` is standard output.

    The file gets its name only when the block succeeds, so that an incomplete export can't be mistaken for a complete one.
    """
    if path == STANDARD_OUTPUT:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    final = Path(path)
    # mkstemp makes a file that only its owner can read, because it contains what users wrote.
    descriptor, partial = tempfile.mkstemp(dir=final.parent, prefix=f".{final.name}.")
    try:
        with os.fdopen(descriptor, "wb") as raw:
            if final.suffix == ".gz":
                # Without name and time, so that the same history gives the same bytes.
                with gzip.GzipFile(filename="", fileobj=raw, mode="wb", compresslevel=6, mtime=0) as packed:
                    yield cast(BinaryIO, packed)
            else:
                yield raw
            raw.flush()
            os.fsync(raw.fileno())
        Path(partial).replace(final)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise


def _write_instructions(target: BinaryIO, user_id: UUID | None, file_format: Format, section: Section) -> None:
    if file_format == "jsonl":
        for line in instruction_lines(user_id):
            section.add(line)
            target.write(line)
    elif user_id is not None:
        target.write(own_instructions(user_id).encode())


def own_instructions(user_id: UUID) -> str:
    """Return the user's instructions as Markdown; empty if there are none."""
    text = UserInstructions.objects.filter(user_id=user_id).values_list("text", flat=True).first()
    return f"# Own instructions\n\n{text}\n\n" if text else ""


def _write_lines(target: BinaryIO, window: IdArray, section: Section, result: ExportResult) -> None:
    with closing(history_lines(window)) as found:
        for line in found:
            section.add(line)
            target.write(line)
    result.conversations, result.messages = section.conversations, section.messages


def _write_markdown(target: BinaryIO, window: IdArray, result: ExportResult) -> None:
    # Nothing else is written. A column with JSON may hold some that Python can't read, because it is nested too deeply.
    conversations = Conversation.objects.only(*HEADING_COLUMNS).in_bulk(list(window))
    for conversation_id in window:
        if (conversation := conversations.get(conversation_id)) is None:
            continue
        target.write(heading(conversation).encode())
        messages = Message.objects.in_conversation(conversation_id).active_branch().oldest_first()
        messages = messages.only(*PARAGRAPH_COLUMNS)
        with closing(cast(Generator[Any, None, None], messages.iterator(chunk_size=MESSAGES_AT_ONCE))) as found:
            for message in found:
                target.write(paragraph(message).encode())
                result.messages += 1
        result.conversations += 1


def heading(conversation: Any) -> str:
    facts = [
        ("Conversation", conversation.id),
        ("User", conversation.user_id or "anonymous"),
        ("Created", _time(conversation.created_at)),
        ("Last activity", _time(conversation.updated_at)),
    ]
    if conversation.tags:
        facts.append(("Tags", ", ".join(conversation.tags)))
    # A title may contain line breaks; a heading may not.
    title = " ".join(str(conversation).split())
    return f"# {title}\n\n" + "".join(f"- {name}: {value}\n" for name, value in facts) + "\n"


def paragraph(message: Any) -> str:
    notes = [message.status] if message.status != "complete" else []
    if message.source == "client":
        # Anyone can send an invented answer along as the beginning of a conversation.
        notes.append("brought by the client")
    elif message.source == "import":
        notes.append("imported")
    state = f" ({', '.join(notes)})" if notes else ""
    thought = f"<details><summary>Reasoning</summary>\n\n{message.reasoning}\n\n</details>\n\n" if message.reasoning else ""
    called = "".join(f"Calls `{call.name}` ({call.id}):\n\n    {call.arguments}\n\n" for call in read_calls(message.tool_calls))
    speaker = SPEAKERS["tool" if read_call_id(message.tool_calls) else message.role]
    return f"## {speaker}, {_time(message.created_at)}{state}\n\n{thought}{message.content}\n\n{called}"


def _time(moment: datetime | None) -> str:
    if moment is None or isinstance(moment, OutOfRangeTime):
        return "time unknown"
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
