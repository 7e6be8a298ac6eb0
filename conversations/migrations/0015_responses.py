"""What the surface `openai` stores: conversations that are in no list, clients' metadata, and what a response was asked with.

Nullable columns, and one with a constant default, change the catalogue alone, whatever the size of the tables.
"""

from django.db import migrations, models

from conversations.migrating.locks import LockingMigration


class Migration(LockingMigration):
    dependencies = [("conversations", "0014_reasoning")]

    operations = [
        migrations.AddField(
            model_name="conversation", name="is_listed", field=models.BooleanField(db_default=True, default=True)
        ),
        migrations.AddField(model_name="conversation", name="metadata", field=models.JSONField(blank=True, null=True)),
        migrations.AddField(model_name="message", name="request_options", field=models.JSONField(blank=True, null=True)),
    ]
