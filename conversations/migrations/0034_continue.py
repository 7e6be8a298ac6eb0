"""Continuing a reply: how often a reply was continued, and after which cursor the last time.

Nullable columns without a default change the catalogue alone, whatever the size of the table. The nodes of the state before do
not use them.
"""

from django.db import migrations, models

from conversations.migrating.locks import LockingMigration


class Migration(LockingMigration):
    dependencies = [("conversations", "0033_forked_from")]
    locked_tables = ("messages",)

    operations = [
        migrations.AddField("message", "continuations", models.IntegerField(blank=True, null=True)),
        migrations.AddField("message", "continued_after", models.CharField(blank=True, max_length=21, null=True)),
    ]
