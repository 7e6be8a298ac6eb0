"""Count the usage up to now, from the messages: `services.usage_history`, one day at a time, while the service writes.

Not one transaction. If it breaks off, run it again: nothing is counted twice. What is written meanwhile by workers of an
older version, or by the predecessor, is counted by `manage.py count_usage`, later.

A later migration that changes the table usage_totals must give this one a copy of the statements as they are now.
"""

from typing import Any

from django.db import migrations

from conversations.services.history.usage_recount import count_usage


def count(apps: Any, schema_editor: Any) -> None:
    count_usage(has_source=False)


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("conversations", "0011_usage_totals")]

    operations = [migrations.RunPython(count, migrations.RunPython.noop, elidable=True)]
