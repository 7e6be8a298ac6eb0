"""Usage by model: nullable columns without a default, which change the catalogue alone.

The nodes of the state before do not use them. What they count is of an unknown model.
"""

from django.db import migrations, models

from conversations.migrating.locks import LockingMigration


class Migration(LockingMigration):
    dependencies = [("conversations", "0054_staff_sign_in")]
    locked_tables = ("usage_totals", "daily_figures")

    operations = [
        migrations.AddField("usagetotal", "by_model", models.JSONField(blank=True, null=True)),
        migrations.AddField("dailyfigures", "by_model", models.JSONField(null=True)),
    ]
