"""Users' own instructions: a new, empty table. The nodes of the state before do not use it."""

import django.contrib.postgres.functions
from django.db import migrations, models

from conversations.migrating.locks import LockingMigration


class Migration(LockingMigration):
    dependencies = [("conversations", "0047_queue")]

    operations = [
        migrations.CreateModel(
            name="UserInstructions",
            fields=[
                ("user_id", models.UUIDField(primary_key=True, serialize=False)),
                ("text", models.TextField()),
                ("is_active", models.BooleanField(db_default=True, default=True)),
                ("updated_at", models.DateTimeField(db_default=django.contrib.postgres.functions.TransactionNow())),
            ],
            options={"db_table": "user_instructions", "verbose_name_plural": "user instructions"},
        ),
    ]
