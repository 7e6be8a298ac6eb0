"""What this service adds to the predecessor's tables.

Every step is a change of the catalogue alone, whatever the size of the tables: new columns are nullable or have a constant
default, and the checks are validated by the next migration, which holds no lock that a reader or writer would notice.
Both tables are locked at the beginning, in the order of an insert.
"""

import django.contrib.postgres.functions
import django.core.validators
import django.db.models.deletion
import django.db.models.functions.text
from django.contrib.postgres.operations import AddConstraintNotValid
from django.db import migrations, models

from conversations.migrating.locks import LockingMigration
from conversations.new_ids import new_id


class Migration(LockingMigration):
    dependencies = [
        ("conversations", "0001_initial"),
    ]

    operations = [
        migrations.CreateModel(
            name="Assistant",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        db_default=django.contrib.postgres.functions.RandomUUID(),
                        default=new_id,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("name", models.CharField(max_length=100, unique=True)),
                (
                    "description",
                    models.TextField(
                        blank=True, db_default="", default="", validators=[django.core.validators.MaxLengthValidator(2000)]
                    ),
                ),
                (
                    "system_prompt",
                    models.TextField(
                        blank=True, db_default="", default="", validators=[django.core.validators.MaxLengthValidator(8000)]
                    ),
                ),
                ("model_tag", models.CharField(blank=True, db_default="", default="", max_length=100)),
                ("temperature", models.FloatField(blank=True, null=True)),
                ("max_tokens", models.PositiveIntegerField(blank=True, null=True)),
                ("top_k", models.PositiveIntegerField(blank=True, null=True)),
                ("requires_authentication", models.BooleanField(db_default=True, default=True)),
                ("is_active", models.BooleanField(db_default=True, default=True)),
                (
                    "created_at",
                    models.DateTimeField(
                        blank=True,
                        db_default=models.Func(function="now", output_field=models.DateTimeField()),
                        editable=False,
                        null=True,
                    ),
                ),
            ],
            options={
                "db_table": "assistants",
                "ordering": ["name"],
            },
        ),
        migrations.CreateModel(
            name="ChatUser",
            fields=[
                ("id", models.UUIDField(primary_key=True, serialize=False)),
                ("email", models.CharField(blank=True, db_default="", default="", max_length=255)),
                ("name", models.CharField(blank=True, db_default="", default="", max_length=255)),
                ("is_admin", models.BooleanField(db_default=False, default=False)),
                (
                    "first_seen_at",
                    models.DateTimeField(
                        blank=True, db_default=models.Func(function="now", output_field=models.DateTimeField()), null=True
                    ),
                ),
                (
                    "last_seen_at",
                    models.DateTimeField(
                        blank=True, db_default=models.Func(function="now", output_field=models.DateTimeField()), null=True
                    ),
                ),
            ],
            options={
                "db_table": "chat_users",
            },
        ),
        migrations.AddField(
            model_name="conversation",
            name="expires_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="conversation",
            name="session_id",
            field=models.CharField(blank=True, max_length=200, null=True),
        ),
        migrations.AddField(
            model_name="conversation",
            name="title_source",
            field=models.CharField(
                choices=[("default", "Default"), ("auto", "Auto"), ("user", "User")],
                db_default="default",
                default="default",
                max_length=10,
            ),
        ),
        migrations.AddField(
            model_name="message",
            name="context",
            field=models.JSONField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="message",
            name="error_code",
            field=models.CharField(blank=True, max_length=50, null=True),
        ),
        migrations.AddField(
            model_name="message",
            name="feedback",
            field=models.SmallIntegerField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="message",
            name="feedback_comment",
            field=models.TextField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="message",
            name="finish_reason",
            field=models.CharField(blank=True, max_length=20, null=True),
        ),
        migrations.AddField(
            model_name="message",
            name="first_token_ms",
            field=models.IntegerField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="message",
            name="heartbeat_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="message",
            name="idempotency_key",
            field=models.CharField(blank=True, max_length=200, null=True),
        ),
        migrations.AddField(
            model_name="message",
            name="is_active",
            field=models.BooleanField(db_default=True, default=True),
        ),
        migrations.AddField(
            model_name="message",
            name="parent",
            field=models.ForeignKey(
                blank=True,
                db_constraint=False,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.DO_NOTHING,
                to="conversations.message",
            ),
        ),
        migrations.AddField(
            model_name="message",
            name="prompt_tokens",
            field=models.IntegerField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="message",
            name="request_fingerprint",
            field=models.CharField(blank=True, max_length=64, null=True),
        ),
        migrations.AddField(
            model_name="message",
            name="status",
            field=models.CharField(
                choices=[
                    ("streaming", "Streaming"),
                    ("complete", "Complete"),
                    ("stopped", "Stopped"),
                    ("interrupted", "Interrupted"),
                    ("failed", "Failed"),
                ],
                db_default="complete",
                default="complete",
                max_length=12,
            ),
        ),
        migrations.AddField(
            model_name="message",
            name="stop_requested",
            field=models.BooleanField(db_default=False, default=False),
        ),
        migrations.AlterField(
            model_name="conversation",
            name="id",
            field=models.UUIDField(
                db_default=django.contrib.postgres.functions.RandomUUID(),
                default=new_id,
                editable=False,
                primary_key=True,
                serialize=False,
            ),
        ),
        migrations.AlterField(
            model_name="conversation",
            name="user_id",
            field=models.UUIDField(blank=True, null=True),
        ),
        migrations.AlterField(
            model_name="message",
            name="id",
            field=models.UUIDField(
                db_default=django.contrib.postgres.functions.RandomUUID(),
                default=new_id,
                editable=False,
                primary_key=True,
                serialize=False,
            ),
        ),
        migrations.AddConstraint(
            model_name="assistant",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("temperature__isnull", True), ("temperature__range", (0, 2)), _connector="OR"),
                    models.Q(("max_tokens__isnull", True), ("max_tokens__range", (1, 4096)), _connector="OR"),
                    models.Q(("top_k__isnull", True), ("top_k__range", (0, 200)), _connector="OR"),
                ),
                name="ck_assistants_sampling",
            ),
        ),
        migrations.AddField(
            model_name="conversation",
            name="assistant",
            field=models.ForeignKey(
                blank=True,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                to="conversations.assistant",
            ),
        ),
        migrations.AddIndex(
            model_name="chatuser",
            index=models.Index(django.db.models.functions.text.Upper("email"), name="idx_chat_users_email"),
        ),
        AddConstraintNotValid(
            model_name="message",
            constraint=models.CheckConstraint(
                condition=models.Q(("status__in", ["streaming", "complete", "stopped", "interrupted", "failed"])),
                name="ck_messages_status",
            ),
        ),
        AddConstraintNotValid(
            model_name="message",
            constraint=models.CheckConstraint(
                condition=models.Q(("feedback__isnull", True), ("feedback__in", (-1, 1)), _connector="OR"),
                name="ck_messages_feedback",
            ),
        ),
    ]
