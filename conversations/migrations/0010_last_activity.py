"""Add a trigger that keeps `updated_at` correct while the predecessor also writes messages.

The predecessor does not change `updated_at` when it saves a message. Without the trigger, a conversation that is used today
could be listed and pruned by a time of a year ago. The trigger looks only at messages whose `created_at` is the column's
default, so an import, which restores old times, changes nothing else. This service sets `updated_at` in the same transaction.
The trigger is deferred to the end of the transaction, so it then finds nothing to do, and it locks the conversation's row only
during the commit.
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
