"""What a model thought before its answer.

A column with a constant default changes the catalogue alone, whatever the size of the table. It has no index, so that the
checkpoints that write it stay HOT.
"""

from django.db import migrations, models

from conversations.migrating.locks import LockingMigration


class Migration(LockingMigration):
    dependencies = [("conversations", "0013_followers")]
    locked_tables = ("messages",)

    operations = [
        migrations.AddField(
            model_name="message", name="reasoning", field=models.TextField(blank=True, db_default="", default="")
        ),
    ]
