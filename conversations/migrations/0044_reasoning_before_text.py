"""How much of a reply's reasoning came before its text, where more came later.

A nullable column without a default changes the catalogue alone, whatever the size of the table. The nodes of the state before
do not use it: of replies that they make, all reasoning counts as coming first.
"""

from django.db import migrations, models

from conversations.migrating.locks import LockingMigration


class Migration(LockingMigration):
    dependencies = [("conversations", "0043_early_stops")]
    locked_tables = ("messages",)

    operations = [
        migrations.AddField("message", "reasoning_before_text", models.IntegerField(blank=True, null=True)),
    ]
