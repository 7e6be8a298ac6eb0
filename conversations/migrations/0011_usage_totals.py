"""Where usage is counted as it happens, instead of being added up from messages, which may be deleted. A new, empty table."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("conversations", "0010_last_activity")]

    operations = [
        migrations.CreateModel(
            name="UsageTotal",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "user_id", "bucket", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("user_id", models.UUIDField()),
                ("bucket", models.DateTimeField(help_text="when the quarter of an hour began")),
                ("messages", models.BigIntegerField(db_default=0, default=0, help_text="that the user sent")),
                ("replies", models.BigIntegerField(db_default=0, default=0)),
                ("tokens", models.BigIntegerField(db_default=0, default=0, help_text="of the replies")),
                ("prompt_tokens", models.BigIntegerField(db_default=0, default=0)),
                ("inference_time_ms", models.BigIntegerField(db_default=0, default=0)),
            ],
            options={"db_table": "usage_totals"},
        ),
    ]
