"""Which conversation a copy was made of."""

from django.db import migrations, models

from conversations.migrating.locks import LockingMigration


class Migration(LockingMigration):
    dependencies = [("conversations", "0032_feedback_handling")]

    operations = [migrations.AddField("conversation", "forked_from", models.UUIDField(blank=True, null=True))]
