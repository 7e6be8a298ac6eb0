"""The index by which expired temporary chats are found, built while the service writes to the table.

Not one transaction: CREATE INDEX CONCURRENTLY can't run in one. If it breaks off, run it again: see `migrating.indexes`.
"""

from django.db import migrations, models

from conversations.migrating.indexes import BuildIndex


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("conversations", "0007_admin_groups")]

    operations = [
        BuildIndex(
            model_name="conversation",
            index=models.Index(
                condition=models.Q(expires_at__isnull=False), fields=["expires_at"], name="idx_conversations_expiry"
            ),
        ),
    ]
