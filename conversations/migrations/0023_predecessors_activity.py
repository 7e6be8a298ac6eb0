"""Note the activity of the predecessor as it really writes messages: with `created_at` from its own clock.

The trigger of migration 0010 waited for the column's default, which the predecessor never uses. Any time within an hour of the
database's clock now counts, and none sets `updated_at` to a time that has not come yet.
"""

from django.db import migrations

from conversations.migrating.locks import LockingMigration

NOTE = """
CREATE OR REPLACE FUNCTION note_activity() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE conversations SET updated_at = {time}
    WHERE id = NEW.conversation_id AND (updated_at IS NULL OR updated_at < {time});
    RETURN NULL;
END $$
"""
CREATE = """
CREATE CONSTRAINT TRIGGER note_activity AFTER INSERT ON messages
DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
WHEN ({is_now} AND NEW.parent_id IS NULL AND NEW.status = 'complete')
EXECUTE FUNCTION note_activity()
"""
DROP = "DROP TRIGGER note_activity ON messages"
NEAR = "NEW.created_at BETWEEN now() - interval '1 hour' AND now() + interval '1 hour'"


class Migration(LockingMigration):
    dependencies = [("conversations", "0022_workers")]
    locked_tables = ("messages",)
    lock_mode = "SHARE ROW EXCLUSIVE"

    operations = [
        migrations.RunSQL(
            sql=[DROP, NOTE.format(time="least(NEW.created_at, now())"), CREATE.format(is_now=NEAR)],
            reverse_sql=[DROP, NOTE.format(time="NEW.created_at"), CREATE.format(is_now="NEW.created_at = now()")],
        )
    ]
