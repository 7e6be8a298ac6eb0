"""How the inference service ended a reply, in its own words, and the trace of a reply that failed.

Nullable columns without a default change the catalogue alone, whatever the size of the table. The nodes of the state before do
not use them.
"""

from django.db import migrations, models

from conversations.migrating.locks import LockingMigration


class Migration(LockingMigration):
    dependencies = [("conversations", "0025_erased_users")]
    locked_tables = ("messages",)

    operations = [
        migrations.AddField("message", "upstream_finish", models.CharField(blank=True, max_length=100, null=True)),
        migrations.AddField("message", "upstream_status", models.SmallIntegerField(blank=True, null=True)),
        migrations.AddField("message", "upstream_code", models.CharField(blank=True, max_length=64, null=True)),
        migrations.AddField("message", "trace_id", models.CharField(blank=True, max_length=128, null=True)),
    ]
