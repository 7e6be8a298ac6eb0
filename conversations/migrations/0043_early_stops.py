"""Stops of chats that do not exist yet: a new, empty table. The nodes of the state before do not use it."""

from django.db import migrations, models

from conversations.migrating.locks import LockingMigration


class Migration(LockingMigration):
    dependencies = [("conversations", "0042_trash_index")]

    operations = [
        migrations.CreateModel(
            name="EarlyStop",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("user_id", models.UUIDField()),
                ("name", models.CharField(max_length=200)),
                ("key", models.CharField(max_length=200, null=True)),
                ("stopped_at", models.DateTimeField()),
            ],
            options={
                "db_table": "early_stops",
                "constraints": [models.UniqueConstraint(fields=("user_id", "name"), name="uq_early_stops")],
            },
        ),
    ]
