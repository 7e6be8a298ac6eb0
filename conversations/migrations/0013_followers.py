"""Where workers note that a running reply has followers, for those elsewhere to read.

Nullable columns without a default change the catalogue alone, whatever the size of the table. Neither has an index, so that
the checkpoints that write them stay HOT.
"""

from django.db import migrations, models

from conversations.migrating.locks import LockingMigration


class Migration(LockingMigration):
    dependencies = [("conversations", "0012_count_usage")]
    locked_tables = ("messages",)

    operations = [
        migrations.AddField(model_name="message", name="is_followed", field=models.BooleanField(blank=True, null=True)),
        migrations.AddField(model_name="message", name="followed_at", field=models.DateTimeField(blank=True, null=True)),
    ]
