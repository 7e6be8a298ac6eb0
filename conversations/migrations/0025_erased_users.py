"""Tombstones of erased users: a new, empty table. The nodes of the state before do not use it."""

import django.contrib.postgres.functions
from django.db import migrations, models

from conversations.migrating.locks import LockingMigration


class Migration(LockingMigration):
    dependencies = [("conversations", "0024_stop_marks_and_creation_keys")]

    operations = [
        migrations.CreateModel(
            name="ErasedUser",
            fields=[
                ("digest", models.CharField(max_length=64, primary_key=True, serialize=False)),
                ("erased_at", models.DateTimeField(db_default=django.contrib.postgres.functions.TransactionNow())),
            ],
            options={"db_table": "erased_users"},
        ),
    ]
