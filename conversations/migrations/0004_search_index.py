"""The full-text index of messages, built while the service writes to them.

'simple' knows no language: words are found as they are written, in any of them. Only the beginning of a very long message
is indexed, because a tsvector has at most one megabyte. A running reply is not indexed: it would be, anew, with every
checkpoint. PostgreSQL uses the index only for exactly this expression; `conversations.expressions` has the same.

The statistics say how many messages contain a word, which decides how it is searched; PostgreSQL does not take them from a
partial index. ANALYZE collects them, here for the first time: it reads a sample and blocks no one.

Not one transaction: CREATE INDEX CONCURRENTLY can't run in one. If it breaks off, run it again: see `migrating.indexes`.
"""

from django.db import migrations

from conversations.migrating.indexes import BuildIndexFromSQL

SEARCH_INDEX = """
USING gin (to_tsvector('simple'::regconfig, left(content, 100000)))
WHERE status <> 'streaming'
"""
DROP_STATISTICS = "DROP STATISTICS IF EXISTS st_messages_search"
CREATE_STATISTICS = """
CREATE STATISTICS st_messages_search ON (to_tsvector('simple'::regconfig, left(content, 100000))) FROM messages
"""


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("conversations", "0003_indexes")]

    operations = [
        BuildIndexFromSQL("messages", "idx_messages_search", SEARCH_INDEX),
        migrations.RunSQL(sql=[DROP_STATISTICS, CREATE_STATISTICS, "ANALYZE messages"], reverse_sql=[DROP_STATISTICS]),
    ]
