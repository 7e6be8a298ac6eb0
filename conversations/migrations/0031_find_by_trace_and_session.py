"""The indexes by which staff find a trace and a session, built while the service writes.

Not one transaction: CREATE INDEX CONCURRENTLY can't run in one. If it breaks off, run it again: see `migrating.indexes`.
"""

from django.db import migrations, models

from conversations.migrating.indexes import BuildIndex


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("conversations", "0030_tree")]

    operations = [
        BuildIndex(
            model_name="message",
            index=models.Index(fields=["trace_id"], name="idx_messages_trace", condition=models.Q(trace_id__isnull=False)),
        ),
        BuildIndex(
            model_name="conversation",
            index=models.Index(
                fields=["session_id"], name="idx_conversations_session", condition=models.Q(session_id__isnull=False)
            ),
        ),
    ]
