"""The index of a user's favourites in the order of their list, built while the service writes.

Not one transaction: CREATE INDEX CONCURRENTLY can't run in one. If it breaks off, run it again: see `migrating.indexes`.
"""

from django.db import migrations, models

from conversations.migrating.indexes import BuildIndex


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("conversations", "0018_assistant_tokens")]

    operations = [
        BuildIndex(
            model_name="conversation",
            index=models.Index(
                models.F("user_id"),
                models.OrderBy(models.F("updated_at"), descending=True),
                models.OrderBy(models.F("id"), descending=True),
                condition=models.Q(expires_at__isnull=True, is_favorited=True, is_listed=True),
                name="idx_conversations_favourites",
            ),
        ),
    ]
