"""Name two indexes for what they serve: they differed by a vowel."""

from django.db import migrations

from conversations.migrating.locks import LockingMigration

NAMES = {
    # A user's own favourites, in the order of their list.
    "idx_conversations_favourites": "idx_conversations_own_favorite",
    # Those of all users, for the filter of the admin's list.
    "idx_conversations_favorited": "idx_conversations_all_favorite",
}


class Migration(LockingMigration):
    dependencies = [("conversations", "0051_tool_calls")]
    locked_tables = ("conversations",)
    # As renaming an index itself: reading and writing go on.
    lock_mode = "SHARE UPDATE EXCLUSIVE"

    operations = [migrations.RenameIndex(model_name="conversation", old_name=old, new_name=new) for old, new in NAMES.items()]
