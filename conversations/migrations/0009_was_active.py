"""What remembers, for each version of a turn, which of its answers counted.

A nullable column without a default changes the catalogue alone, whatever the size of the table.
"""

from django.db import migrations, models

from conversations.migrating.locks import LockingMigration


class Migration(LockingMigration):
    dependencies = [("conversations", "0008_expiry_index")]

    operations = [
        migrations.AddField(model_name="message", name="was_active", field=models.BooleanField(blank=True, null=True)),
    ]
