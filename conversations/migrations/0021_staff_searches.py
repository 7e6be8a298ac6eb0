"""Record which lists and pages of users staff looked at, and what they searched for. A table that grows slowly."""

from django.db import migrations, models

from conversations.migrating.locks import LockingMigration


class Migration(LockingMigration):
    dependencies = [("conversations", "0020_turn_notes")]
    locked_tables = ("staff_access",)

    operations = [
        migrations.AddField(
            model_name="staffaccess",
            name="search",
            field=models.CharField(blank=True, db_default="", default="", max_length=200),
        ),
        migrations.AlterField(
            model_name="staffaccess",
            name="kind",
            field=models.CharField(
                choices=[("read", "Read"), ("exported", "Exported"), ("deleted", "Deleted"), ("listed", "Listed")],
                max_length=10,
            ),
        ),
    ]
