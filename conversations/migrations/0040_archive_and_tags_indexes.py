"""The indexes of the lists without archived conversations, of archived ones and of tags, built while the service writes.

Not one transaction: CREATE INDEX CONCURRENTLY can't run in one. If it breaks off, run it again: see `migrating.indexes`.
"""

from django.contrib.postgres.indexes import GinIndex
from django.db import migrations, models

from conversations.migrating.indexes import BuildIndex


def _in_order(name: str, condition: models.Q) -> models.Index:
    """Return an index of a user's conversations in the order of their list."""
    return models.Index(
        models.F("user_id"),
        models.OrderBy(models.F("updated_at"), descending=True),
        models.OrderBy(models.F("id"), descending=True),
        condition=condition,
        name=name,
    )


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("conversations", "0039_archive_and_tags")]

    operations = [
        BuildIndex(
            model_name="conversation",
            index=_in_order(
                "idx_conversations_unarchived", models.Q(is_archived=False, is_listed=True, expires_at__isnull=True)
            ),
        ),
        BuildIndex(
            model_name="conversation",
            index=_in_order("idx_conversations_archived", models.Q(is_archived=True, is_listed=True, expires_at__isnull=True)),
        ),
        BuildIndex(
            model_name="conversation",
            index=_in_order(
                "idx_conversations_tagged", models.Q(tag_keys__isnull=False, is_listed=True, expires_at__isnull=True)
            ),
        ),
        BuildIndex(
            model_name="conversation",
            index=models.Index(
                models.OrderBy(models.F("updated_at"), descending=True),
                models.OrderBy(models.F("id"), descending=True),
                condition=models.Q(is_archived=True),
                name="idx_conversations_put_away",
            ),
        ),
        BuildIndex(
            model_name="conversation",
            index=GinIndex(condition=models.Q(tag_keys__isnull=False), fields=["tag_keys"], name="idx_conversations_tags"),
        ),
    ]
