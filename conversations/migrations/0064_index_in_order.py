"""The index of a conversation's messages knows which of them are active, built while the service writes.

Readers of the active branch no longer visit the versions that were left in between. Nodes of the version before, and the
predecessor, use the new index as they used the old one.

Not one transaction: CREATE INDEX CONCURRENTLY can't run in one. If it breaks off, run it again: see `migrating.indexes`.
"""

from django.db import migrations, models

from conversations.migrating.indexes import BuildIndex, DropIndex


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("conversations", "0063_cells")]

    operations = [
        BuildIndex(
            model_name="message",
            index=models.Index(fields=["conversation", "created_at", "is_active"], name="idx_messages_in_order"),
        ),
        DropIndex(model_name="message", name="idx_messages_conversation"),
    ]
