"""The deployed predecessor's two tables, exactly: its database is taken over with `migrate --fake-initial`.

The foreign key with ON DELETE CASCADE is made in SQL, because Django 5.2 can't declare one, under the name that PostgreSQL
gave the predecessor's. It is never taken back: where it was only faked, that would drop tables that it did not make.
"""

from typing import Any

import django.contrib.postgres.functions
import django.db.models.deletion
from django.db import migrations, models

from conversations.migrating.guards import refuse_to_drop_history, require_absent_tables

NOW = models.Func(function="now", output_field=models.DateTimeField())


class Migration(migrations.Migration):
    initial = True

    def apply(self, project_state: Any, schema_editor: Any, collect_sql: bool = False) -> Any:
        if not collect_sql:
            require_absent_tables(schema_editor.connection)
        return super().apply(project_state, schema_editor, collect_sql)

    def unapply(self, project_state: Any, schema_editor: Any, collect_sql: bool = False) -> Any:
        refuse_to_drop_history()

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Conversation",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        db_default=django.contrib.postgres.functions.RandomUUID(),
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("user_id", models.UUIDField()),
                ("title", models.CharField(blank=True, max_length=500, null=True)),
                ("model_tag", models.CharField(blank=True, db_default="default", default="default", max_length=100, null=True)),
                ("created_at", models.DateTimeField(blank=True, db_default=NOW, null=True)),
                ("updated_at", models.DateTimeField(blank=True, db_default=NOW, null=True)),
                ("is_favorited", models.BooleanField(db_default=False, default=False)),
            ],
            options={"db_table": "conversations"},
        ),
        migrations.AddIndex(
            model_name="conversation",
            index=models.Index(
                models.F("user_id"), models.OrderBy(models.F("updated_at"), descending=True), name="idx_conversations_user"
            ),
        ),
        migrations.CreateModel(
            name="Message",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        db_default=django.contrib.postgres.functions.RandomUUID(),
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                (
                    "conversation",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="messages",
                        to="conversations.conversation",
                    ),
                ),
                (
                    "role",
                    models.CharField(
                        choices=[("user", "User"), ("assistant", "Assistant"), ("system", "System")], max_length=20
                    ),
                ),
                ("content", models.TextField()),
                ("token_count", models.IntegerField(blank=True, null=True)),
                ("model_tag", models.CharField(blank=True, max_length=100, null=True)),
                ("inference_time_ms", models.IntegerField(blank=True, null=True)),
                ("created_at", models.DateTimeField(blank=True, db_default=NOW, null=True)),
            ],
            options={
                "db_table": "messages",
                "indexes": [models.Index(fields=["conversation", "created_at"], name="idx_messages_conversation")],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("role__in", ["user", "assistant", "system"])), name="ck_messages_role"
                    )
                ],
            },
        ),
        migrations.RunSQL(
            sql=(
                "ALTER TABLE messages ADD CONSTRAINT messages_conversation_id_fkey "
                "FOREIGN KEY (conversation_id) REFERENCES conversations (id) ON DELETE CASCADE"
            ),
        ),
    ]
