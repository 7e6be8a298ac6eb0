"""Count a turn or a reply without waiting for another transaction that has changed the user's totals, and not only locked them.

The INSERT waited for it, although it could only find then that there is a row. That was a wait for each of two sends at once;
the second is counted a moment later in any case.
"""

import importlib
from typing import Any

from django.db import migrations

BEFORE: Any = importlib.import_module("conversations.migrations.0059_count_usage_function")

INSERT = "    ELSE\n        INSERT INTO usage_totals"
# Only one transaction inserts the row of a quarter, so that the others need not wait for it either.
INSERT_ALONE = """    ELSIF pg_try_advisory_xact_lock(hashtextextended('usage_totals:' || of_user || quarter, 0)) THEN
        INSERT INTO usage_totals"""
VALUES, END_OF_VALUES = "VALUES (of_user,", "END)\n        ON CONFLICT"
# In the INSERT itself, which sees what was committed before the lock.
IF_MISSING = (
    "END\n        WHERE NOT EXISTS (SELECT FROM usage_totals WHERE user_id = of_user AND bucket = quarter)\n        ON CONFLICT"
)
CREATE, REPLACE = "CREATE FUNCTION", "CREATE OR REPLACE FUNCTION"
COUNT_USAGE = BEFORE.COUNT_USAGE.replace(CREATE, REPLACE)
WITHOUT_WAITING = (
    COUNT_USAGE.replace(INSERT, INSERT_ALONE).replace(VALUES, "SELECT of_user,").replace(END_OF_VALUES, IF_MISSING)
)


class Migration(migrations.Migration):
    dependencies = [("conversations", "0065_texts_once")]

    operations = [migrations.RunSQL(sql=[WITHOUT_WAITING], reverse_sql=[COUNT_USAGE])]
