"""Let PostgreSQL see that all rows satisfy the checks of the migration before. It reads the table once; nobody waits for it.

Not one transaction, so that no lock is kept longer than for one check.
"""

from django.db import migrations

NAMES = ("ck_messages_role", "ck_messages_status", "ck_messages_feedback")


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("conversations", "0060_short_checks")]

    operations = [
        migrations.RunSQL(
            sql=[f"ALTER TABLE messages VALIDATE CONSTRAINT {name}" for name in NAMES], reverse_sql=migrations.RunSQL.noop
        )
    ]
