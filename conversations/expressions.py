"""Expressions that PostgreSQL answers with an index, each written once.

PostgreSQL uses such an index only for exactly the same expression. Each expression has a template, from which the models, the
querysets and the hand-written SQL take it. Only the migrations repeat it, because a migration must not change.
"""

import unicodedata

from django.db import models
from django.db.models import F, Func

# `idx_messages_day`. Days are those of UTC.
_DAY = "((%(expressions)s AT TIME ZONE 'UTC')::date)"
# `idx_messages_words` and `idx_conversations_words`. The functions are in migration 0035. They read 100,000 characters.
_WORDS = "search_words(search_text(%(expressions)s))"
# The same with positions, which no index has. A tsvector holds 256 positions of a word, and none beyond the 16,383rd word: of
# longer texts than this, all are taken for a match that have all words of a phrase.
# Making positions costs about a hundred times as much as a look for the phrases as they were typed, so that comes first.
_HAS_PHRASE = """
(length(%(expressions)s) > 5000 OR lower(%(expressions)s) LIKE ALL (%(typed)s)
 OR search_places(search_text(%(expressions)s)) @@ %(query)s)
"""

MESSAGE_DAY = Func(F("created_at"), template=_DAY, output_field=models.DateField())

MESSAGE_DAY_SQL = _DAY % {"expressions": "messages.created_at"}


def words_sql(column: str) -> str:
    return _WORDS % {"expressions": column}


def has_phrase_sql(column: str, query: str, typed: str) -> str:
    """Return the condition that a text with all words of the query also has its phrases. `typed` may be null."""
    return _HAS_PHRASE % {"expressions": column, "query": query, "typed": typed}


class Folded(Func):
    """The same for all Unicode forms of a text and for upper and lower case. No index has it."""

    # Most titles need no more than a look: normalising each would take ten times as long.
    template = (
        "lower(CASE WHEN octet_length(%(expressions)s) = length(%(expressions)s) OR %(expressions)s IS NFKC NORMALIZED"
        " THEN %(expressions)s ELSE normalize(%(expressions)s, NFKC) END)"
    )
    output_field = models.CharField()


def fold(text: str) -> str:
    """Return a text that is looked for as `Folded` has it."""
    return unicodedata.normalize("NFKC", text).lower()
