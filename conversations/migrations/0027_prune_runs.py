"""The last runs of prune_history: a new, empty table. The nodes of the state before do not use it."""

import django.db.models.functions.datetime
from django.db import migrations, models

from conversations.migrating.locks import LockingMigration


class Migration(LockingMigration):
    dependencies = [("conversations", "0026_upstream_notes")]

    operations = [
        migrations.CreateModel(
            name="PruneRun",
            fields=[
                (
                    "criteria",
                    models.CharField(
                        help_text="the names of the options, without their values",
                        max_length=100,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("finished_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("conversations", models.BigIntegerField(help_text="that the run deleted")),
                ("messages", models.BigIntegerField(help_text="that the run deleted")),
            ],
            options={"db_table": "prune_runs"},
        ),
    ]
