"""Retention rules: a new, empty table. The nodes of the state before do not use it."""

import uuid

import django.core.validators
import django.db.models.functions.comparison
from django.db import migrations, models

from conversations.migrating.locks import LockingMigration


class Migration(LockingMigration):
    dependencies = [
        ("conversations", "0061_validate_short_checks"),
    ]

    operations = [
        migrations.CreateModel(
            name="RetentionRule",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "what",
                    models.CharField(
                        choices=[
                            ("conversations", "conversations"),
                            ("usage_totals", "usage totals"),
                            ("staff_access", "access by staff"),
                            ("chat_users", "users without conversations"),
                            ("archives", "archive files"),
                        ],
                        default="conversations",
                        max_length=20,
                        verbose_name="of what",
                    ),
                ),
                ("user_id", models.UUIDField(blank=True, null=True)),
                ("assistant_id", models.UUIDField(blank=True, null=True)),
                ("model_tag", models.CharField(blank=True, db_default="", default="", max_length=100, verbose_name="model")),
                ("is_anonymous", models.BooleanField(db_default=False, default=False, verbose_name="of anonymous callers")),
                (
                    "days",
                    models.PositiveIntegerField(
                        blank=True,
                        help_text="Without a turn (of users: unseen). Empty: kept for ever, whatever less specific rules say.",
                        null=True,
                        validators=[
                            django.core.validators.MinValueValidator(1),
                            django.core.validators.MaxValueValidator(36500),
                        ],
                    ),
                ),
                ("includes_favorites", models.BooleanField(db_default=False, default=False, verbose_name="favourites too")),
            ],
            options={
                "db_table": "retention_rules",
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("days__isnull", True), ("days__range", (1, 36500)), _connector="OR"),
                        name="ck_retention_rules_days",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("what", "usage_totals"), _negated=True),
                            ("days__isnull", True),
                            ("days__gte", 94),
                            _connector="OR",
                        ),
                        name="ck_retention_rules_usage",
                        violation_error_message="Usage totals stay for 94 days: /api/usage and quotas read them.",
                    ),
                    models.UniqueConstraint(
                        models.F("what"),
                        django.db.models.functions.comparison.Coalesce(
                            models.F("user_id"), uuid.UUID("00000000-0000-0000-0000-000000000000")
                        ),
                        django.db.models.functions.comparison.Coalesce(
                            models.F("assistant_id"), uuid.UUID("00000000-0000-0000-0000-000000000000")
                        ),
                        models.F("model_tag"),
                        models.F("is_anonymous"),
                        name="uq_retention_rules",
                        violation_error_message="There is such a rule already.",
                    ),
                ],
            },
        ),
    ]
