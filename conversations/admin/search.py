"""Search for conversations in the admin.

Principle: PostgreSQL reads a limited number of rows for every search. It looks words up in the GIN indexes on titles and
messages and takes only some of very many matches. A search that is still too slow ends with an explanation.
"""

import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import psycopg
import regex
from django.db import OperationalError, connection, transaction

from conversations.ids import parse_id
from conversations.models import ChatUser, Conversation, Message
from conversations.querysets import ConversationQuerySet
from conversations.services.search.words import Words, read_words

MOST_USERS = 50
MOST_MATCHES = 500
# A soft limit on the rows from a GIN index. With more matches, the index returns a random part of about this size.
MOST_INDEX_ROWS = 5_000
SEARCH_TIMEOUT_MS = 2_000
# `Jo <jo@acme.co>`
NAMED_ADDRESS = regex.compile(r"<\s*([^<>\s]+@[^<>\s]*)\s*>")
AROUND_ADDRESS = " \t\"'“”„«»<>()[],;:"
INVISIBLE = regex.compile(r"[\p{Cc}\p{Cf}\p{Default_Ignorable_Code_Point}]")
NO_WORDS = "Enter at least one word to search for. Words after a minus sign only exclude."


@dataclass(frozen=True, slots=True)
class Found:
    """Search result: the conversations, a notice for the reader, and the newest matching message of each conversation."""

    conversations: ConversationQuerySet
    notice: str = ""
    matching_messages: dict[UUID, UUID] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class WordMatches:
    """Conversations by their titles, and messages as (conversation id, message id)."""

    titled: list[UUID] = field(default_factory=list)
    messages: list[tuple[UUID, UUID]] = field(default_factory=list)
    notice: str = ""
    words: Words | None = None


def search_conversations(conversations: ConversationQuerySet, wanted: str) -> Found:
    """Filter by an exact id, by the user's e-mail address or its beginning, or by words in titles and messages."""
    wanted = wanted.strip().replace("\x00", "")
    if not wanted:
        return Found(conversations)
    if wanted_id := parse_id(wanted):
        return _find_by_id(conversations, wanted_id)
    if "@" in wanted:
        return _find_by_email(conversations, wanted)
    return _find_words(conversations, wanted)


def users_with_email(wanted: str) -> list[UUID]:
    """Return the ids of users with exactly this e-mail address, in any case. Only if there are none, those whose address
    begins like this.

    Otherwise `jo@acme.co` would also select the conversations of `jo@acme.com`. At most 50 users and one more.
    """
    # What was typed comes first: an address may have quotation marks of its own.
    for address in dict.fromkeys([wanted, pasted_address(wanted)]):
        for comparison in ("iexact", "istartswith"):
            users = ChatUser.objects.filter(**{f"email__{comparison}": address}).values_list("id", flat=True)
            if found := list(users[: MOST_USERS + 1]):
                return found
    return []


def pasted_address(wanted: str) -> str:
    """Return the e-mail address in what staff copy from a message: `Jo <jo@acme.co>`, `mailto:jo@acme.co`, `"jo@acme.co";`."""
    text = INVISIBLE.sub("", unicodedata.normalize("NFC", wanted))
    named = NAMED_ADDRESS.search(text)
    address = named[1] if named else text.strip(AROUND_ADDRESS)
    return address.removeprefix("mailto:").strip(AROUND_ADDRESS)


def _find_by_email(conversations: ConversationQuerySet, wanted: str) -> Found:
    users = users_with_email(wanted)
    notice = ""
    if len(users) > MOST_USERS:
        notice = (
            f"More than {MOST_USERS} users have an address like this: only {MOST_USERS} of them are shown. Type more of it."
        )
    return Found(conversations.filter(user_id__in=users[:MOST_USERS]), notice)


def _find_by_id(conversations: ConversationQuerySet, wanted_id: UUID) -> Found:
    """Find a conversation by its id or by the id of one of its messages, else all conversations of a user."""
    message = Message.objects.filter(id=wanted_id).values_list("conversation_id", flat=True).first()
    if message:
        return Found(conversations.filter(id=message), matching_messages={message: wanted_id})
    if Conversation.objects.filter(id=wanted_id).exists():
        return Found(conversations.filter(id=wanted_id))
    return Found(conversations.owned_by(wanted_id))


def _find_words(conversations: ConversationQuerySet, wanted: str) -> Found:
    found = match_words(conversations, wanted, most=MOST_MATCHES)
    # Keep the newest match of each conversation.
    newest = dict(reversed(found.messages))
    return Found(conversations.filter(id__in={*found.titled, *newest}), found.notice, newest)


def match_words(conversations: ConversationQuerySet, wanted: str, *, most: int) -> WordMatches:
    """Return titles and messages with these words, newest first, at most `most` of each.

    Up to 500 are read of each: for fewer, PostgreSQL would look for the newest matches through all titles in the order of time.
    """
    try:
        with _bounded_search():
            words = read_words(wanted, _fetch)
            if words is None or not _is_indexable(words):
                return WordMatches(notice=NO_WORDS)
            titled = conversations.titled_with_words(words.loose, words.exact).newest_activity_first()
            found = list(titled.values_list("id", flat=True)[:MOST_MATCHES])
            matches = Message.objects.with_words(words.loose, words.exact).newest_first()
            pairs = list(matches.values_list("conversation_id", "id")[:MOST_MATCHES])
    except OperationalError as failure:
        if not isinstance(failure.__cause__, psycopg.errors.QueryCanceled):
            raise
        return WordMatches(notice="The search took too long because the words are too common. Add a less common word.")
    notice = ""
    if most <= max(len(found), len(pairs)):
        notice = f"{most} or more matches: only some are shown. Add a word to narrow the search."
    return WordMatches(titled=found[:most], messages=pairs[:most], notice=notice, words=words)


def _is_indexable(words: Words) -> bool:
    """Say whether an index can answer the search. `-word` alone would match nearly every row."""
    [(indexable,)] = _fetch("SELECT querytree(%(loose)s::tsquery)", {"loose": words.loose})
    return indexable not in ("", "T")


def _fetch(sql: str, values: dict[str, Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows


@contextmanager
def _bounded_search() -> Iterator[None]:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT set_config('statement_timeout', %s, true)", [str(SEARCH_TIMEOUT_MS)])
        # For a very common word the planner would scan the whole table, without a limit.
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute("SELECT set_config('gin_fuzzy_search_limit', %s, true)", [str(MOST_INDEX_ROWS)])
        yield
