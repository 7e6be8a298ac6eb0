"""The index of a user's trash, built while the service writes.

Not one transaction: CREATE INDEX CONCURRENTLY can't run in one. If it breaks off, run it again: see `migrating.indexes`.
"""

from django.db import migrations, models

from conversations.migrating.indexes import BuildIndex


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("conversations", "0041_trash")]

    operations = [
        BuildIndex(
            model_name="conversation",
            index=models.Index(
                models.F("user_id"),
                models.OrderBy(models.F("updated_at"), descending=True),
                models.OrderBy(models.F("id"), descending=True),
                condition=models.Q(deleted_at__isnull=False),
                name="idx_conversations_trash",
            ),
        ),
    ]
