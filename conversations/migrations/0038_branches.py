"""Find replies by the hash of their branch, for clients that send the whole history: see `surfaces.openai.branches`.

Not one transaction: CREATE INDEX CONCURRENTLY can't run in one. If it breaks off, run it again: see `migrating.indexes`.
"""

from django.db import migrations

from conversations.migrating.indexes import BuildIndexFromSQL

BRANCH_INDEX = """
USING btree ((request_options ->> 'branch'), created_at)
WHERE (request_options ->> 'branch') IS NOT NULL
"""


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("conversations", "0037_what_staff_read_for")]

    operations = [BuildIndexFromSQL("messages", "idx_messages_branch", BRANCH_INDEX)]
