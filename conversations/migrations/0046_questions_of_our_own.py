"""Let the triggers for the predecessor pass over questions of our own.

A send does itself what `note_activity` and `message_added` do, and says so with `is_followed`, which means nothing for a
question otherwise. Questions of nodes of the version before, and of the predecessor, leave it null.
"""

from django.db import migrations

from conversations.migrating.locks import LockingMigration

NEAR = "NEW.created_at BETWEEN now() - interval '1 hour' AND now() + interval '1 hour'"
DROP = ["DROP TRIGGER note_activity ON messages", "DROP TRIGGER message_added ON messages"]


def _create(more: str) -> list[str]:
    is_new = f"{NEAR} AND NEW.parent_id IS NULL AND NEW.status = 'complete'"
    return [
        f"""
        CREATE CONSTRAINT TRIGGER note_activity AFTER INSERT ON messages
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN ({is_new}{more}) EXECUTE FUNCTION note_activity()
        """,
        f"""
        CREATE TRIGGER message_added AFTER INSERT ON messages FOR EACH ROW
        WHEN ({is_new} AND NEW.source IS NULL AND NEW.role <> 'assistant'{more}) EXECUTE FUNCTION message_added()
        """,
    ]


class Migration(LockingMigration):
    dependencies = [("conversations", "0045_export_holds")]
    locked_tables = ("messages",)
    lock_mode = "SHARE ROW EXCLUSIVE"

    operations = [
        migrations.RunSQL(
            sql=[*DROP, *_create(" AND NEW.is_followed IS NULL")],
            reverse_sql=[*DROP, *_create("")],
        )
    ]
