"""Take the placeholders of migration 0029 out again, on the way back. See `conversations.placeholders`.

A migration of its own, without a lock on the table: it reads the whole table.
"""

from django.db import migrations

CLEAR = "UPDATE messages SET content = '' WHERE content = U&'\\2026\\2060' AND role = 'assistant'"


class Migration(migrations.Migration):
    dependencies = [("conversations", "0027_prune_runs")]

    operations = [migrations.RunSQL(sql=migrations.RunSQL.noop, reverse_sql=CLEAR)]
