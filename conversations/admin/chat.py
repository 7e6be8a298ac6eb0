"""A page of a conversation for staff, with the versions of each answer grouped."""

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.db.models import Case, F, TextField, When
from django.db.models.expressions import Expression
from django.db.models.functions import Left, Length

from conversations.exceptions import BadCursor
from conversations.ids import parse_id
from conversations.keyset import SortKey, after_key, decode_cursor, encode_cursor
from conversations.models import Message, QueuedMessage, Role
from conversations.placeholders import TEXT
from conversations.querysets import MessageQuerySet
from conversations.services.replies.queued_rows import waiting_in

MESSAGES_SHOWN = 50
# Newer messages shown below a requested message.
NEWER_SHOWN = 10
CURSOR_KIND = "admin"
# Longer messages are shown in full only on demand, which keeps pages small.
CHARACTERS_SHOWN = 20_000


@dataclass(slots=True)
class Entry:
    """A message and its other versions, oldest first."""

    message: Any
    others: list[Any] = field(default_factory=list)

    @property
    def versions(self) -> list[Any]:
        return sorted([self.message, *self.others], key=lambda message: (message.created_at is None, message.created_at))


@dataclass(frozen=True, slots=True)
class ChatPage:
    entries: list[Entry]
    older_cursor: str
    is_newest: bool
    wanted_id: UUID | None
    # The messages that wait for their turn, the next one first. Only below the newest messages.
    waiting: list[QueuedMessage] = field(default_factory=list)


def read_chat_page(*, conversation_id: UUID, before: str = "", wanted: str = "", whole: str = "") -> ChatPage:
    """Return a page of messages, oldest first: the newest ones, those before a cursor, or those around a wanted message.

    At most three queries, each reading a range of idx_messages_in_order, and one for what waits. A malformed parameter
    gives the newest page.
    """
    messages = Message.objects.in_conversation(conversation_id)
    wanted_id = parse_id(wanted)
    upper = _before(before) or _slightly_after(messages, wanted_id)
    if upper is not None:
        messages = messages.filter(after_key(upper, "created_at", descending=True))
    newest = list(_with_text(messages, parse_id(whole)).newest_first()[: MESSAGES_SHOWN + 1])
    shown = newest[:MESSAGES_SHOWN]
    older = ""
    if len(newest) > MESSAGES_SHOWN:
        older = encode_cursor(CURSOR_KIND, SortKey(time=shown[-1].created_at, id=shown[-1].id))
    return ChatPage(
        entries=_group(shown[::-1]),
        older_cursor=older,
        is_newest=upper is None,
        wanted_id=wanted_id,
        waiting=list(waiting_in(conversation_id)) if upper is None else [],
    )


def _before(cursor: str) -> SortKey | None:
    try:
        return decode_cursor(cursor, CURSOR_KIND) if cursor else None
    except BadCursor:
        return None


def _slightly_after(messages: MessageQuerySet, wanted_id: UUID | None) -> SortKey | None:
    """Return the key of the first message below the page of the wanted message, or None near the end."""
    wanted = messages.filter(id=wanted_id).only("id", "created_at").first() if wanted_id else None
    if wanted is None:
        return None
    newer = messages.filter(after_key(SortKey(wanted.created_at, wanted.id), "created_at", descending=False))
    following = newer.oldest_first().only("id", "created_at")[NEWER_SHOWN : NEWER_SHOWN + 1]
    return SortKey(following[0].created_at, following[0].id) if following else None


def _with_text(messages: MessageQuerySet, whole_id: UUID | None) -> MessageQuerySet:
    return messages.defer("content", "reasoning").annotate(
        text=_shown(TEXT, whole_id),
        characters=Length(TEXT),
        thought=_shown(F("reasoning"), whole_id),
        thought_characters=Length("reasoning"),
    )


def _shown(column: Expression | F, whole_id: UUID | None) -> Case:
    return Case(When(id=whole_id, then=column), default=Left(column, CHARACTERS_SHOWN), output_field=TextField())


def _group(messages: list[Any]) -> list[Entry]:
    """Group the answers to one question at the place of the active answer."""
    answers: dict[UUID, list[Any]] = {}
    for message in messages:
        if message.role == Role.ASSISTANT and message.parent_id:
            answers.setdefault(message.parent_id, []).append(message)
    entries = []
    for message in messages:
        siblings = answers.get(message.parent_id, []) if message.role == Role.ASSISTANT and message.parent_id else []
        if len(siblings) < 2:
            entries.append(Entry(message))
            continue
        # The active answer, else the last one, which may still be running.
        main = next((sibling for sibling in siblings if sibling.is_active), siblings[-1])
        if message is main:
            entries.append(Entry(main, [sibling for sibling in siblings if sibling is not main]))
    return entries
