"""Make the words of search faster, once per ANALYZE, and only the newer ones where no older node can be.

`search_text` compared each character with 98 others. Now a regular expression finds what is no word, which takes a tenth of the
time for English. The words are the same (`tests/test_search_functions.py` compares them), so the indexes stay as they are.

ANALYZE made the words of its sample for each index and again for the statistics: most of its work. PostgreSQL takes no
statistics from a partial index, as that of messages is, and needs no others beside those of a whole one.

The older indexes are for nodes of the version before, and twice the work at each message. A database without messages has no
such nodes. Elsewhere they stay until an operator drops them (docs/operating.md).

Not one transaction: DROP INDEX CONCURRENTLY can't run in one. If it breaks off, run it again.
"""

import importlib
from typing import Any

from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ProjectState

from conversations.migrating.indexes import build_index, drop_index

BEFORE: Any = importlib.import_module("conversations.migrations.0035_search_words")

# Everything in ASCII that is no letter and no digit.
ASCII_BETWEEN = r"\u0001-\u001F\u0021-\u002F\u003A-\u0040\u005B-\u0060\u007B-\u007F"
# In the locale of Turkish, the lower case of I is no ASCII.
SEARCH_TEXT = rf"""
CREATE OR REPLACE FUNCTION search_text(content text) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE COST 10000 AS $function$
DECLARE
    words text := left(content, 100000);
BEGIN
    IF octet_length(words) = length(words) THEN
        RETURN regexp_replace(lower(words COLLATE "C"), '[^a-z0-9 ]+', ' ', 'g');
    END IF;
    IF words IS NOT NFKC NORMALIZED THEN
        -- NFKC makes two letters of the sign №, which would be one word with the number behind it.
        words := left(normalize(replace(words, U&'\2116', U&'\2116 '), NFKC), 100000);
    END IF;
    words := regexp_replace(lower(words), '[{BEFORE.UNSEEN}]+', '', 'g');
    words := regexp_replace(words, '[{ASCII_BETWEEN}{BEFORE.BETWEEN_WORDS}]+', ' ', 'g');
    words := regexp_replace(words, '[{BEFORE.ALONE}]', ' \& ', 'g');
    words := regexp_replace(words, '[{BEFORE.UNSPACED}]+', ' \& ', 'g');
    words := regexp_replace(words, '[{BEFORE.UNSPACED}]', '\& \&', 'g');
    -- The Greek final sigma is a sigma, and the Turkish ı an i.
    RETURN translate(words, U&'\03C2\0131', U&'\03C3i');
END $function$
"""
SEARCH_WORDS = BEFORE.SEARCH_WORDS.replace("IF words ~", "IF octet_length(words) >= 250 AND words ~")
# A column of an index that is an expression has no other name than its number.
TARGET = "ALTER INDEX idx_messages_words ALTER COLUMN 1 SET STATISTICS"
OLDER_MESSAGES = """
CREATE INDEX idx_messages_search ON messages
USING gin (to_tsvector('simple'::regconfig, left(content, 100000))) WHERE status <> 'streaming'
"""
OLDER_TITLES = "CREATE INDEX idx_conversations_title_words ON conversations USING gin (to_tsvector('simple'::regconfig, title))"
OLDER_STATISTICS = """
CREATE STATISTICS IF NOT EXISTS st_messages_search
ON (to_tsvector('simple'::regconfig, left(content, 100000))) FROM messages
"""


class DropOlderIndexes(Operation):
    """Drop the older indexes of search if there are no messages. On the way back, build those that are missing."""

    reversible = True
    atomic = False

    def state_forwards(self, app_label: str, state: ProjectState) -> None:
        state.remove_index(app_label, "conversation", "idx_conversations_title_words")

    def database_forwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        with schema_editor.connection.cursor() as cursor:
            cursor.execute("SELECT EXISTS (SELECT FROM messages)")
            (has_messages,) = cursor.fetchone()
        if not has_messages:
            drop_index(schema_editor, "idx_messages_search")
            drop_index(schema_editor, "idx_conversations_title_words")
            schema_editor.execute("DROP STATISTICS IF EXISTS st_messages_search")

    def database_backwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        build_index(schema_editor, "messages", "idx_messages_search", OLDER_MESSAGES)
        build_index(schema_editor, "conversations", "idx_conversations_title_words", OLDER_TITLES)
        schema_editor.execute(OLDER_STATISTICS)

    def describe(self) -> str:
        return "Drop the older indexes of search where no older node can be"


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("conversations", "0048_user_instructions")]

    operations = [
        migrations.RunSQL(sql=[SEARCH_TEXT, SEARCH_WORDS], reverse_sql=[BEFORE.SEARCH_TEXT, BEFORE.SEARCH_WORDS]),
        migrations.RunSQL(
            sql=[f"{TARGET} 0", "DROP STATISTICS IF EXISTS st_conversations_words"],
            reverse_sql=[f"{TARGET} -1", BEFORE.CREATE_STATISTICS[1]],
        ),
        DropOlderIndexes(),
    ]
