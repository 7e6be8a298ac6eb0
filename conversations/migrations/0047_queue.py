"""Messages that wait for their turn: a new, empty table, and a nullable column without a default.

Nodes of the state before know neither. They see a queued message when its turn has come, as a row of `messages` like any other.
"""

import django.contrib.postgres.functions
import django.db.models.deletion
from django.db import migrations, models

from conversations.migrating.locks import LockingMigration

CASCADE_SQL = """
ALTER TABLE queued_messages ADD CONSTRAINT queued_messages_conversation_id_fkey
FOREIGN KEY (conversation_id) REFERENCES conversations (id) ON DELETE CASCADE
"""


class Migration(LockingMigration):
    dependencies = [("conversations", "0046_questions_of_our_own")]

    operations = [
        migrations.AddField("message", "is_awaited", models.BooleanField(blank=True, null=True)),
        migrations.CreateModel(
            name="QueuedMessage",
            fields=[
                ("id", models.UUIDField(primary_key=True, serialize=False)),
                ("reply_id", models.UUIDField()),
                ("place", models.IntegerField()),
                ("content", models.TextField()),
                ("request", models.JSONField()),
                ("is_background", models.BooleanField(db_default=False, default=False)),
                ("idempotency_key", models.CharField(blank=True, max_length=200, null=True)),
                ("request_fingerprint", models.CharField(blank=True, max_length=64, null=True)),
                ("is_held", models.BooleanField(db_default=False, default=False)),
                ("is_started", models.BooleanField(db_default=False, default=False)),
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
            options={"db_table": "queued_messages"},
        ),
        migrations.AddIndex(
            model_name="queuedmessage",
            index=models.Index(condition=models.Q(("is_held", False)), fields=["created_at"], name="idx_queued_messages_due"),
        ),
        migrations.AddConstraint(
            model_name="queuedmessage",
            constraint=models.UniqueConstraint(fields=("conversation", "place"), name="uq_queued_messages_place"),
        ),
        migrations.AddConstraint(
            model_name="queuedmessage",
            constraint=models.UniqueConstraint(fields=("reply_id",), name="uq_queued_messages_reply"),
        ),
        migrations.AddConstraint(
            model_name="queuedmessage",
            constraint=models.UniqueConstraint(
                condition=models.Q(("idempotency_key__isnull", False)),
                fields=("conversation", "idempotency_key"),
                name="uq_queued_messages_key",
            ),
        ),
        migrations.RunSQL(CASCADE_SQL, migrations.RunSQL.noop),
    ]
