"""Expressions that PostgreSQL answers with an index, each written once.

PostgreSQL uses such an index only for exactly the same expression. Each expression has a template, from which the models, the
querysets and the hand-written SQL take it. Only the migrations repeat it, because a migration must not change.
"""

from django.contrib.postgres.search import SearchVectorField
from django.db import models
from django.db.models import F, Func

# `idx_messages_day`. Days are those of UTC.
_DAY = "((%(expressions)s AT TIME ZONE 'UTC')::date)"
# `idx_messages_search`. PostgreSQL refuses a tsvector over 1 MB, so only the beginning of a long message is indexed.
_MESSAGE_VECTOR = "to_tsvector('simple'::regconfig, left(%(expressions)s, 100000))"
# `idx_conversations_title_words`. Django's `SearchVector` would add a COALESCE.
_TITLE_VECTOR = "to_tsvector('simple', %(expressions)s)"

MESSAGE_DAY = Func(F("created_at"), template=_DAY, output_field=models.DateField())
MESSAGE_WORDS = Func(F("content"), template=_MESSAGE_VECTOR, output_field=SearchVectorField())
TITLE_WORDS = Func(F("title"), template=_TITLE_VECTOR, output_field=SearchVectorField())

MESSAGE_DAY_SQL = _DAY % {"expressions": "messages.created_at"}
MESSAGE_WORDS_SQL = _MESSAGE_VECTOR % {"expressions": "content"}
