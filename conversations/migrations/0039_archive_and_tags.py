"""What a user puts in order: archived conversations and tags.

Nullable columns, and one with a constant default, change the catalogue alone. Nodes of the state before leave them as they are.
"""

import django.contrib.postgres.fields
from django.db import migrations, models

from conversations.migrating.locks import LockingMigration


class Migration(LockingMigration):
    dependencies = [("conversations", "0038_branches")]
    locked_tables = ("conversations",)

    operations = [
        migrations.AddField(
            model_name="conversation",
            name="is_archived",
            field=models.BooleanField(db_default=False, default=False),
        ),
        migrations.AddField(
            model_name="conversation",
            name="tags",
            field=django.contrib.postgres.fields.ArrayField(base_field=models.TextField(), blank=True, null=True, size=None),
        ),
        migrations.AddField(
            model_name="conversation",
            name="tag_keys",
            field=django.contrib.postgres.fields.ArrayField(base_field=models.TextField(), blank=True, null=True, size=None),
        ),
    ]
