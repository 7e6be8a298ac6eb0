"""The index by which expired temporary chats are found, built while the service writes to the table.

Not one transaction: CREATE INDEX CONCURRENTLY can't run in one. If it breaks off, run it again: the index is dropped first,
so that an invalid one which a broken attempt left behind is not taken for the real thing.
"""

from django.db import migrations, models

INDEX = models.Index(fields=["expires_at"], name="idx_conversations_expiry", condition=models.Q(expires_at__isnull=False))
DROP = "DROP INDEX CONCURRENTLY IF EXISTS idx_conversations_expiry"
CREATE = "CREATE INDEX CONCURRENTLY idx_conversations_expiry ON conversations (expires_at) WHERE expires_at IS NOT NULL"


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("conversations", "0007_admin_groups")]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunSQL(sql=[DROP, CREATE], reverse_sql=[DROP])],
            state_operations=[migrations.AddIndex(model_name="conversation", index=INDEX)],
        ),
    ]
