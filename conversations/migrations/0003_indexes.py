"""The indexes and unique constraints on top of the predecessor's tables, built while the service writes to them.

Not one transaction: CREATE INDEX CONCURRENTLY can't run in one. If it breaks off, run it again: each index is dropped first,
so that an invalid one which a broken attempt left behind is not taken for the real thing.
"""

from django.contrib.postgres.operations import AddIndexConcurrently, ValidateConstraint
from django.db import migrations, models


def unique_index(model_name: str, table: str, constraint: models.UniqueConstraint, columns: str, condition: str):
    """Return the operation that adds a conditional unique constraint without locking its table."""
    drop = f"DROP INDEX CONCURRENTLY IF EXISTS {constraint.name}"
    create = f"CREATE UNIQUE INDEX CONCURRENTLY {constraint.name} ON {table} ({columns}) WHERE {condition}"
    return migrations.SeparateDatabaseAndState(
        database_operations=[migrations.RunSQL(sql=[drop, create], reverse_sql=[drop])],
        state_operations=[migrations.AddConstraint(model_name=model_name, constraint=constraint)],
    )


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("conversations", "0002_additions")]

    operations = [
        ValidateConstraint(model_name="message", name="ck_messages_status"),
        ValidateConstraint(model_name="message", name="ck_messages_feedback"),
        unique_index(
            "message",
            "messages",
            models.UniqueConstraint(
                name="uq_messages_running", fields=["conversation"], condition=models.Q(status="streaming")
            ),
            "conversation_id",
            "status = 'streaming'",
        ),
        unique_index(
            "message",
            "messages",
            models.UniqueConstraint(
                name="uq_messages_idempotency",
                fields=["conversation", "idempotency_key"],
                condition=models.Q(idempotency_key__isnull=False),
            ),
            "conversation_id, idempotency_key",
            "idempotency_key IS NOT NULL",
        ),
        unique_index(
            "conversation",
            "conversations",
            models.UniqueConstraint(
                name="uq_conversations_session",
                fields=["user_id", "session_id"],
                condition=models.Q(session_id__isnull=False, user_id__isnull=False),
            ),
            "user_id, session_id",
            "session_id IS NOT NULL AND user_id IS NOT NULL",
        ),
        unique_index(
            "conversation",
            "conversations",
            models.UniqueConstraint(
                name="uq_conversations_anonymous_session",
                fields=["session_id"],
                condition=models.Q(session_id__isnull=False, user_id__isnull=True),
            ),
            "session_id",
            "session_id IS NOT NULL AND user_id IS NULL",
        ),
        AddIndexConcurrently(
            model_name="message",
            index=models.Index(condition=models.Q(("parent__isnull", False)), fields=["parent"], name="idx_messages_parent"),
        ),
        AddIndexConcurrently(
            model_name="conversation",
            index=models.Index(
                condition=models.Q(("assistant__isnull", False)), fields=["assistant"], name="idx_conversations_assistant"
            ),
        ),
        AddIndexConcurrently(
            model_name="conversation",
            index=models.Index(
                models.OrderBy(models.F("updated_at"), descending=True),
                models.OrderBy(models.F("id"), descending=True),
                name="idx_conversations_activity",
            ),
        ),
    ]
