"""Which users' exports are running: a new, empty table. The nodes of the state before do not use it."""

from django.db import migrations, models

from conversations.migrating.locks import LockingMigration


class Migration(LockingMigration):
    dependencies = [("conversations", "0044_reasoning_before_text")]

    operations = [
        migrations.CreateModel(
            name="ExportHold",
            fields=[
                ("user_id", models.UUIDField(primary_key=True, serialize=False)),
                ("holder", models.UUIDField()),
                ("held_until", models.DateTimeField()),
            ],
            options={"db_table": "export_holds"},
        ),
    ]
