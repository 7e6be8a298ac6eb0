"""The index of usage by time, for the list of users near their quota, built while the service writes.

Not one transaction: CREATE INDEX CONCURRENTLY can't run in one. If it breaks off, run it again: see `migrating.indexes`.
"""

from django.contrib.postgres.indexes import BrinIndex
from django.db import migrations

from conversations.migrating.indexes import BuildIndex


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("conversations", "0035_search_words")]

    operations = [
        BuildIndex(model_name="usagetotal", index=BrinIndex(fields=["bucket"], name="idx_usage_totals_bucket")),
    ]
