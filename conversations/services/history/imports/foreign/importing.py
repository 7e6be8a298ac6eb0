"""Store the conversations of another chat application as a user's.

Ids are made from the user's id and the ids of the export, so that what was imported before is recognised and nothing comes
twice. A conversation is stored as a whole or not at all, and one that exists is left as it is: what its user has said, changed
or deleted in it since stays. The messages are marked `source = 'import'`: they can't be rated and count for no usage.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import ModuleType
from typing import Any
from uuid import UUID, uuid5

import orjson
from django.db import DatabaseError, transaction

from conversations.models import MAX_TITLE_CHARACTERS, Conversation, TitleSource
from conversations.services.history.files.json_lines import CONVERSATION, MESSAGE
from conversations.services.history.files.reading import MAX_LINE_BYTES, ImportProblem
from conversations.services.history.imports.foreign import chatgpt, librechat, openwebui
from conversations.services.history.imports.foreign.branches import Row, columns_of, read_rows
from conversations.services.history.imports.foreign.files import Item, read_items
from conversations.services.history.imports.foreign.nodes import Chat, UnreadableChat
from conversations.services.history.imports.import_admission import Row as Line
from conversations.services.history.imports.import_admission import read_row
from conversations.services.history.imports.importing import DEFAULT_BATCH_LINES, MAX_BATCH_BYTES, ImportedRows, reason_of
from conversations.services.history.imports.insertion import conditions_to_fit, insert_rows, preview_rows
from conversations.services.history.tombstones import erased_among
from conversations.services.sending.titles import is_unnamed_title
from conversations.tags import MAX_TAG_CHARACTERS, MAX_TAGS, clean_tag, tag_columns
from conversations.visible_text import is_blank

IMPORTED = "import"
APPLICATIONS: dict[str, tuple[ModuleType, re.Pattern[str]]] = {
    "chatgpt": (chatgpt, re.compile(r"conversations[-_0-9]*\.json")),
    "openwebui": (openwebui, re.compile(r".*\.json")),
    "librechat": (librechat, re.compile(r".*\.json")),
}
MOST_PROBLEMS_KEPT = 100


@dataclass(frozen=True, slots=True)
class Problem:
    """A conversation that could not be read, and why. It quotes nothing that a user wrote."""

    path: str
    reason: str


@dataclass(slots=True)
class ChatImportResult:
    """What was read so far. In a dry run, `inserted` counts what would be inserted."""

    conversations: ImportedRows = field(default_factory=ImportedRows)
    messages: ImportedRows = field(default_factory=ImportedRows)
    unreadable: int = 0
    # The first of them.
    problems: list[Problem] = field(default_factory=list)
    # Pieces of conversations that can't come along, by their kind.
    not_taken: dict[str, int] = field(default_factory=dict)
    # Why the file could not be read to its end.
    failure: str | None = None
    is_complete: bool = False


@dataclass(slots=True)
class _Batch:
    """Whole conversations: their lines by id, each with the lines of its messages."""

    chats: dict[UUID, tuple[Line, list[Line]]] = field(default_factory=dict)
    lines: int = 0
    size: int = 0

    def add(self, conversation: Line, messages: list[Line]) -> None:
        assert conversation.conversation_id is not None
        self.chats[conversation.conversation_id] = conversation, messages
        self.lines += 1 + len(messages)
        self.size += sum(len(line.line) for line in (conversation, *messages))

    @property
    def is_full(self) -> bool:
        return self.lines >= DEFAULT_BATCH_LINES or self.size >= MAX_BATCH_BYTES


def import_chats(
    *,
    name: str,
    application: str,
    user_id: UUID,
    includes_erased: bool = False,
    is_dry_run: bool = False,
    should_stop: Callable[[], bool] = lambda: False,
    on_batch: Callable[[ChatImportResult], None] = lambda result: None,
) -> ChatImportResult:
    """Store the conversations of a file. Each batch of whole conversations is one transaction.

    A conversation that can't be read is left out and told. A file that can't be read to its end is imported up to there, and
    the result's `failure` says where that is. Raises `ImportProblem` for an erased user.
    """
    if not includes_erased and erased_among([user_id]):
        raise ImportProblem("the user was erased. --include-erased imports for them anyway")
    run = _Run(application, user_id, is_dry_run)
    try:
        try:
            for item in read_items(name, APPLICATIONS[application][1]):
                if should_stop():
                    return run.result
                run.take(item)
                if run.batch.is_full:
                    run.store()
                    on_batch(run.result)
            run.result.is_complete = True
        finally:
            # Also what comes before the place where the file is malformed. After a failure of the database, there is nothing.
            run.store()
    except ImportProblem as problem:
        run.result.failure = str(problem)
        run.result.is_complete = False
    on_batch(run.result)
    return run.result


class _Run:
    """What one import has gathered and done so far."""

    def __init__(self, application: str, user_id: UUID, is_dry_run: bool) -> None:
        self.result = ChatImportResult()
        self.batch = _Batch()
        self._application = application
        self._user_id = user_id
        self._is_dry_run = is_dry_run
        self._fits = conditions_to_fit()
        # In a dry run, what would be stored already: 16 bytes for each conversation.
        self._counted: set[bytes] = set()

    def take(self, item: Item) -> None:
        """Read a conversation into the batch."""
        # Counted only if the conversation is taken.
        not_taken: Counter[str] = Counter()
        try:
            chat = APPLICATIONS[self._application][0].read_chat(item.value, lambda what: not_taken.update([what]))
            conversation, messages = self._lines(chat)
        except UnreadableChat as problem:
            self.result.unreadable += 1
            if len(self.result.problems) < MOST_PROBLEMS_KEPT:
                self.result.problems.append(Problem(f"{item.path}{problem.path}", str(problem)))
            return
        if conversation.conversation_id in self.batch.chats:
            self.result.conversations.present += 1
            self.result.messages.present += len(messages)
            return
        for what, number in not_taken.items():
            self.result.not_taken[what] = self.result.not_taken.get(what, 0) + number
        self.batch.add(conversation, messages)

    def store(self) -> None:
        """Store the batch in one transaction and begin the next."""
        batch, self.batch = self.batch, _Batch()
        if not batch.chats:
            return
        try:
            with transaction.atomic():
                self._store(batch)
        except DatabaseError as failure:
            raise ImportProblem(
                f"the database refused a batch of {len(batch.chats)} conversations: {reason_of(failure)}"
            ) from None

    def _store(self, batch: _Batch) -> None:
        known = set(Conversation.objects.filter(id__in=list(batch.chats)).values_list("id", flat=True))
        known |= {chat_id for chat_id in batch.chats if chat_id.bytes in self._counted}
        new = {chat_id: chat for chat_id, chat in batch.chats.items() if chat_id not in known}
        conversations = [conversation for conversation, _ in new.values()]
        messages = [message for _, lines in new.values() for message in lines]
        if self._is_dry_run:
            stored = set(preview_rows(conversations, self._fits[CONVERSATION])[0])
            inserted = len(stored), sum(len(new[chat_id][1]) for chat_id in stored)
            self._counted.update(chat_id.bytes for chat_id in stored)
        else:
            # Another import of the same file may be ahead. It stores the same rows, so that each is counted once.
            counts = insert_rows(conversations, self._fits[CONVERSATION]), insert_rows(messages, self._fits[MESSAGE])
            inserted = counts[0].inserted, counts[1].inserted
        present = len(known), sum(len(batch.chats[chat_id][1]) for chat_id in known)
        handled = (self.result.conversations, self.result.messages)
        for rows, added, before, found in zip(handled, inserted, present, (len(conversations), len(messages)), strict=True):
            rows.inserted += added
            rows.present += before
            rows.left_out += found - added

    def _lines(self, chat: Chat) -> tuple[Line, list[Line]]:
        """Return a conversation and its messages as the lines of our own files. Raises `UnreadableChat`."""
        times = [node.said_at for node in chat.nodes.values() if node.said_at]
        known = [moment for moment in (chat.created_at, *times) if moment]
        begun_at = min(known, default=None) or chat.updated_at or datetime.now(UTC)
        rows = read_rows(chat, begun_at)
        if not rows:
            raise UnreadableChat("it has no message that is shown")
        chat_id = chat.id or _made_up_id(chat)
        conversation_id = self._new_id(chat_id)
        conversation = self._line(
            CONVERSATION,
            {
                "id": conversation_id,
                "user_id": self._user_id,
                "title": None if is_blank(chat.title) else chat.title[:MAX_TITLE_CHARACTERS],
                "title_source": TitleSource.DEFAULT if is_unnamed_title(chat.title) else TitleSource.USER,
                "created_at": begun_at,
                "updated_at": max([row.said_at for row in rows] + [chat.updated_at or begun_at]),
                "is_archived": chat.is_archived,
                "is_favorited": chat.is_favorited,
                **tag_columns(_tags(chat)),
            },
        )
        ids = {id(row): self._new_id(chat_id, row.node_id) for row in rows}

        def id_of(row: Row | None) -> UUID | None:
            return None if row is None else ids[id(row)]

        messages = [
            self._line(
                MESSAGE,
                {
                    "id": id_of(row),
                    "conversation_id": conversation_id,
                    "parent_id": id_of(row.above if row.role == "assistant" else row.first_version),
                    "follows_id": None if row.role == "assistant" else id_of(row.above),
                    "source": IMPORTED,
                    **columns_of(row),
                },
            )
            for row in rows
        ]
        return conversation, messages

    def _new_id(self, *names: str) -> UUID:
        return uuid5(self._user_id, "\n".join((self._application, *names)))

    def _line(self, kind: str, values: dict[str, Any]) -> Line:
        line = orjson.dumps({kind: values})
        if len(line) >= MAX_LINE_BYTES:
            raise UnreadableChat(f"a message is longer than {MAX_LINE_BYTES // 2**20} MiB")
        return read_row(kind, values, line)


def _tags(chat: Chat) -> list[str]:
    tags = (clean_tag("".join(filter(str.isprintable, tag))) for tag in chat.tags)
    return [tag for tag in tags if 0 < len(tag) <= MAX_TAG_CHARACTERS][:MAX_TAGS]


def _made_up_id(chat: Chat) -> str:
    """Return an id for a conversation whose export gives it none, the same each time."""
    named = [chat.title, str(chat.created_at), *chat.nodes]
    return hashlib.sha256("\n".join(named).encode()).hexdigest()
