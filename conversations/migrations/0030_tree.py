"""Which message a question follows, and which versions were left in which order (see `services.replies.tree`)."""

from django.db import migrations, models

from conversations.migrating.locks import LockingMigration


class Migration(LockingMigration):
    dependencies = [("conversations", "0029_beside_the_predecessor")]

    operations = [
        migrations.AddField("message", "follows_id", models.UUIDField(blank=True, null=True)),
        migrations.AddField("message", "left_order", models.IntegerField(blank=True, null=True)),
        migrations.AddField("message", "has_versions", models.BooleanField(blank=True, null=True)),
    ]
