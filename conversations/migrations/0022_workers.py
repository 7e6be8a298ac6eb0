"""A lease per worker, instead of a heartbeat per reply: a new, empty table, and a nullable column without a default.

The column has no index: the few running replies are found by uq_messages_running. Nodes of the version before leave it null.
"""

from django.db import migrations, models

from conversations.migrating.locks import LockingMigration


class Migration(LockingMigration):
    dependencies = [("conversations", "0021_staff_searches")]
    locked_tables = ("messages",)

    operations = [
        migrations.CreateModel(
            name="Worker",
            fields=[
                ("id", models.UUIDField(primary_key=True, serialize=False)),
                ("renewals", models.BigIntegerField(db_default=1, default=1)),
                ("host", models.CharField(db_default="", default="", max_length=255)),
                ("boot", models.CharField(db_default="", default="", max_length=100)),
                ("pid", models.BigIntegerField(db_default=0, default=0)),
                ("process_start", models.BigIntegerField(blank=True, null=True)),
                ("lock_server", models.CharField(blank=True, max_length=40, null=True)),
            ],
            options={"db_table": "workers"},
        ),
        migrations.AddField(model_name="message", name="worker", field=models.UUIDField(blank=True, null=True)),
    ]
