"""Which messages a client brought along.

A nullable column without a default changes the catalogue alone, whatever the size of the table.
"""

from django.db import migrations, models

from conversations.migrating.locks import LockingMigration


class Migration(LockingMigration):
    dependencies = [("conversations", "0019_favourites_index")]
    locked_tables = ("messages",)

    operations = [
        migrations.AddField(model_name="message", name="source", field=models.CharField(blank=True, max_length=10, null=True)),
    ]
