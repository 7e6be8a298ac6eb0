"""The tables that serve staff, and the permission to export."""

import django.db.models.deletion
import django.db.models.functions.datetime
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("conversations", "0004_search_index"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="DailyFigures",
            fields=[
                ("day", models.DateField(primary_key=True, serialize=False)),
                ("sent", models.BigIntegerField(help_text="messages that users sent")),
                ("replies", models.BigIntegerField()),
                ("tokens", models.BigIntegerField(help_text="tokens of replies")),
                ("active_users", models.BigIntegerField()),
                ("failures", models.BigIntegerField(help_text="replies that failed or were interrupted")),
                ("first_token_p50_ms", models.IntegerField(null=True)),
                ("first_token_p95_ms", models.IntegerField(null=True)),
                ("inference_p50_ms", models.IntegerField(null=True)),
                ("inference_p95_ms", models.IntegerField(null=True)),
            ],
            options={"db_table": "daily_figures"},
        ),
        migrations.CreateModel(
            name="StaffAccess",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("staff_name", models.CharField(max_length=150)),
                (
                    "kind",
                    models.CharField(
                        choices=[("read", "Read"), ("exported", "Exported"), ("deleted", "Deleted")], max_length=10
                    ),
                ),
                ("conversation_id", models.UUIDField()),
                ("user_id", models.UUIDField(null=True)),
                ("at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                (
                    "staff",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "verbose_name": "access by staff",
                "verbose_name_plural": "access by staff",
                "db_table": "staff_access",
                "indexes": [
                    models.Index(
                        models.OrderBy(models.F("at"), descending=True),
                        models.OrderBy(models.F("id"), descending=True),
                        name="idx_staff_access_at",
                    ),
                    models.Index(fields=["conversation_id"], name="idx_staff_access_conversation"),
                    models.Index(fields=["user_id"], name="idx_staff_access_user"),
                ],
            },
        ),
        migrations.AlterModelOptions(
            name="conversation",
            options={"permissions": [("export_conversation", "Can export conversations")]},
        ),
    ]
