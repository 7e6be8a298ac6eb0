"""Calls of tools and their outputs. A nullable column without a default changes the catalogue alone."""

from django.db import migrations, models

from conversations.migrating.locks import LockingMigration


class Migration(LockingMigration):
    dependencies = [("conversations", "0050_changes")]
    locked_tables = ("messages",)

    operations = [
        migrations.AddField(model_name="message", name="tool_calls", field=models.JSONField(blank=True, null=True)),
    ]
