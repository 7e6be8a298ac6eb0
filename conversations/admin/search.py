"""Finding conversations the way support staff ask for them.

Principle: whatever staff type, PostgreSQL reads a bounded number of rows. Words are looked up in the GIN indexes on titles and
messages, and of very many matches only some are taken; a search that is too slow nevertheless ends with an explanation.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from uuid import UUID

import psycopg
from django.db import InternalError, OperationalError, connection, transaction

from conversations.keyset import parse_id
from conversations.models import ChatUser, Conversation, Message
from conversations.querysets import ConversationQuerySet

MOST_USERS = 50
MOST_MATCHES = 500
# A soft limit on the rows that a GIN index gives: beyond it, it gives some of them.
MOST_INDEX_ROWS = 5_000
SEARCH_TIMEOUT_MS = 2_000
NO_WORDS = "A search needs at least one word that is wanted."


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found: the rows, what to tell the reader, and the newest matching message of each conversation."""

    conversations: ConversationQuerySet
    notice: str = ""
    matching_messages: dict[UUID, UUID] = field(default_factory=dict)


def search_conversations(conversations: ConversationQuerySet, wanted: str) -> Found:
    """Restrict to an exact id, to users by the beginning of their e-mail, or to words in titles and messages."""
    wanted = wanted.strip().replace("\x00", "")
    if not wanted:
        return Found(conversations)
    if wanted_id := parse_id(wanted):
        return _find_by_id(conversations, wanted_id)
    if "@" in wanted:
        users = ChatUser.objects.filter(email__istartswith=wanted).values_list("id", flat=True)[:MOST_USERS]
        return Found(conversations.filter(user_id__in=list(users)))
    return _find_words(conversations, wanted)


def _find_by_id(conversations: ConversationQuerySet, wanted_id: UUID) -> Found:
    """Find a conversation by its own id or by that of one of its messages, else all those of a user."""
    message = Message.objects.filter(id=wanted_id).values_list("conversation_id", flat=True).first()
    if message:
        return Found(conversations.filter(id=message), matching_messages={message: wanted_id})
    if Conversation.objects.filter(id=wanted_id).exists():
        return Found(conversations.filter(id=wanted_id))
    return Found(conversations.owned_by(wanted_id))


def _find_words(conversations: ConversationQuerySet, wanted: str) -> Found:
    try:
        with _bounded_search():
            if not _names_words(wanted):
                return Found(conversations.none(), NO_WORDS)
            titled = conversations.titled_with_words(wanted).newest_activity_first()
            found = list(titled.values_list("id", flat=True)[:MOST_MATCHES])
            matches = Message.objects.with_words(wanted).newest_first()
            pairs = list(matches.values_list("conversation_id", "id")[:MOST_MATCHES])
    except InternalError as failure:
        # 33 dashes before a word: each negates the next, and they are too many for PostgreSQL.
        if not isinstance(failure.__cause__, psycopg.errors.InternalError_):
            raise
        return Found(conversations.none(), NO_WORDS)
    except OperationalError as failure:
        if not isinstance(failure.__cause__, psycopg.errors.QueryCanceled):
            raise
        return Found(conversations.none(), "That took too long: the words are too common. Add a rarer one.")
    notice = ""
    if MOST_MATCHES in (len(found), len(pairs)):
        notice = f"More than {MOST_MATCHES} matches: only some are shown. Add a word to narrow the search."
    # The newest match of a conversation comes first, and stays.
    newest = dict(reversed(pairs))
    return Found(conversations.filter(id__in={*found, *newest}), notice, newest)


def _names_words(wanted: str) -> bool:
    """Tell whether an index can answer this: stop words aside, `-word` alone would match nearly everything."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT querytree(websearch_to_tsquery('simple', %s))", [wanted])
        (indexable,) = cursor.fetchone()
    return indexable not in ("", "T")


@contextmanager
def _bounded_search() -> Iterator[None]:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT set_config('statement_timeout', %s, true)", [str(SEARCH_TIMEOUT_MS)])
        # For a word that stands nearly everywhere the planner would read the whole table, which no limit bounds.
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute("SELECT set_config('gin_fuzzy_search_limit', %s, true)", [str(MOST_INDEX_ROWS)])
        yield
