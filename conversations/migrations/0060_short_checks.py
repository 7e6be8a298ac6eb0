"""Write the checks of messages so that PostgreSQL reads them faster.

It parses and plans a check again for each statement that writes a row. A list of constants of one type takes a third of the
time of what Django writes. The rows satisfy the checks already; the next migration makes PostgreSQL see that, without a lock
that writers would wait for.
"""

from django.db import migrations

from conversations.migrating.locks import LockingMigration

SHORT = {
    "ck_messages_role": "role = ANY ('{user,assistant,system}'::text[])",
    "ck_messages_status": "status = ANY ('{streaming,complete,stopped,interrupted,failed}'::text[])",
    "ck_messages_feedback": "feedback = ANY ('{-1,1}'::smallint[])",
}
# As Django writes them.
LONG = {
    "ck_messages_role": "role IN ('user', 'assistant', 'system')",
    "ck_messages_status": "status IN ('streaming', 'complete', 'stopped', 'interrupted', 'failed')",
    "ck_messages_feedback": "feedback IS NULL OR feedback IN (-1, 1)",
}


def replace(checks: dict[str, str]) -> list[str]:
    return [
        f"ALTER TABLE messages DROP CONSTRAINT {name}, ADD CONSTRAINT {name} CHECK ({check}) NOT VALID"
        for name, check in checks.items()
    ]


class Migration(LockingMigration):
    dependencies = [("conversations", "0059_count_usage_function")]
    locked_tables = ("messages",)

    operations = [migrations.RunSQL(sql=[*replace(SHORT)], reverse_sql=[*replace(LONG)])]
