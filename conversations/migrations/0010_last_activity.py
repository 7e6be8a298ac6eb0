"""The predecessor's messages count as activity: a trigger that keeps `updated_at` right while both services write.

The predecessor does not touch `updated_at` when it saves a message, so a conversation that is used today would be listed and
pruned by what it was a year ago. Only messages that are written just now count, those whose `created_at` is the column's
default: an import, which puts rows back as they were, changes nothing else. This service sets `updated_at` by itself, in the
same transaction; the trigger is deferred to its end, and then finds nothing to do. Being deferred, it also holds the
conversation's row for no longer than the commit takes.
"""

from django.db import migrations

from conversations.migrating.locks import LockingMigration

CREATE = [
    """
    CREATE FUNCTION note_activity() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        UPDATE conversations SET updated_at = NEW.created_at
        WHERE id = NEW.conversation_id AND (updated_at IS NULL OR updated_at < NEW.created_at);
        RETURN NULL;
    END $$
    """,
    """
    CREATE CONSTRAINT TRIGGER note_activity AFTER INSERT ON messages
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN (NEW.created_at = now() AND NEW.parent_id IS NULL AND NEW.status = 'complete')
    EXECUTE FUNCTION note_activity()
    """,
]
DROP = ["DROP TRIGGER note_activity ON messages", "DROP FUNCTION note_activity()"]


class Migration(LockingMigration):
    dependencies = [("conversations", "0009_was_active")]
    locked_tables = ("messages",)

    operations = [migrations.RunSQL(sql=[*CREATE], reverse_sql=[*DROP])]
