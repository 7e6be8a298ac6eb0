"""Stops that came before their send, and keys of requests that create a conversation.

Nullable columns without a default change the catalogue alone. The table is new. The nodes of the state before use neither.
"""

import django.contrib.postgres.functions
import django.db.models.deletion
from django.db import migrations, models

from conversations.migrating.locks import LockingMigration

CASCADE_SQL = """
ALTER TABLE creation_keys ADD CONSTRAINT creation_keys_conversation_id_fkey
FOREIGN KEY (conversation_id) REFERENCES conversations (id) ON DELETE CASCADE
"""


class Migration(LockingMigration):
    dependencies = [("conversations", "0023_predecessors_activity")]
    locked_tables = ("conversations",)

    operations = [
        migrations.AddField(
            model_name="conversation", name="stop_marked_at", field=models.DateTimeField(blank=True, null=True)
        ),
        migrations.AddField(
            model_name="conversation",
            name="stop_marked_key",
            field=models.CharField(blank=True, max_length=200, null=True),
        ),
        migrations.CreateModel(
            name="CreationKey",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("user_id", models.UUIDField()),
                ("key", models.CharField(max_length=200)),
                ("fingerprint", models.CharField(max_length=64)),
                ("created_at", models.DateTimeField(db_default=django.contrib.postgres.functions.TransactionNow())),
                (
                    "conversation",
                    models.ForeignKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="conversations.conversation",
                    ),
                ),
            ],
            options={"db_table": "creation_keys"},
        ),
        migrations.AddConstraint(
            model_name="creationkey",
            constraint=models.UniqueConstraint(fields=("user_id", "key"), name="uq_creation_keys"),
        ),
        migrations.RunSQL(CASCADE_SQL, migrations.RunSQL.noop),
    ]
