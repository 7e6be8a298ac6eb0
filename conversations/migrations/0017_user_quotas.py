"""The limits of single users. A new, empty table."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("conversations", "0016_listed_index")]

    operations = [
        migrations.CreateModel(
            name="UserQuota",
            fields=[
                ("user_id", models.UUIDField(primary_key=True, serialize=False, verbose_name="user's id")),
                (
                    "tokens_day",
                    models.PositiveBigIntegerField(
                        blank=True,
                        help_text="Of replies, in UTC. Empty: QUOTA_TOKENS_DAY. 0: no limit.",
                        null=True,
                        verbose_name="tokens per day",
                    ),
                ),
                (
                    "tokens_month",
                    models.PositiveBigIntegerField(
                        blank=True,
                        help_text="Of replies, in UTC. Empty: QUOTA_TOKENS_MONTH. 0: no limit.",
                        null=True,
                        verbose_name="tokens per month",
                    ),
                ),
            ],
            options={"db_table": "user_quotas"},
        ),
    ]
