"""When a conversation was put in the trash. A nullable column without a default changes the catalogue alone."""

from django.db import migrations, models

from conversations.migrating.locks import LockingMigration


class Migration(LockingMigration):
    dependencies = [("conversations", "0040_archive_and_tags_indexes")]
    locked_tables = ("conversations",)

    operations = [
        migrations.AddField(model_name="conversation", name="deleted_at", field=models.DateTimeField(blank=True, null=True)),
    ]
