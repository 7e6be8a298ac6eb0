"""The indexes and unique constraints on top of the predecessor's tables, built while the service writes to them.

Not one transaction: CREATE INDEX CONCURRENTLY can't run in one. If it breaks off, run it again: see `migrating.indexes`.
"""

from typing import Any

from django.contrib.postgres.operations import ValidateConstraint
from django.db import migrations, models

from conversations.migrating.indexes import BuildIndex, BuildUniqueConstraint

DELETE_EMPTY = (
    "DELETE FROM messages WHERE content = '' AND role = 'assistant' AND (context IS NOT NULL OR status <> 'complete')"
)


def delete_empty_replies(apps: Any, schema_editor: Any) -> None:
    """Delete our replies without text, on the way back: the predecessor could not send them to its model."""
    with schema_editor.connection.cursor() as cursor:
        cursor.execute(DELETE_EMPTY)
        if cursor.rowcount:
            print(f"  Deleted our replies without text, which would block the predecessor: {cursor.rowcount}")  # noqa: T201


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("conversations", "0002_additions")]

    operations = [
        ValidateConstraint(model_name="message", name="ck_messages_status"),
        ValidateConstraint(model_name="message", name="ck_messages_feedback"),
        BuildUniqueConstraint(
            model_name="message",
            constraint=models.UniqueConstraint(
                name="uq_messages_running", fields=["conversation"], condition=models.Q(status="streaming")
            ),
        ),
        BuildUniqueConstraint(
            model_name="message",
            constraint=models.UniqueConstraint(
                name="uq_messages_idempotency",
                fields=["conversation", "idempotency_key"],
                condition=models.Q(idempotency_key__isnull=False),
            ),
        ),
        BuildUniqueConstraint(
            model_name="conversation",
            constraint=models.UniqueConstraint(
                name="uq_conversations_session",
                fields=["user_id", "session_id"],
                condition=models.Q(session_id__isnull=False, user_id__isnull=False),
            ),
        ),
        BuildUniqueConstraint(
            model_name="conversation",
            constraint=models.UniqueConstraint(
                name="uq_conversations_anonymous_session",
                fields=["session_id"],
                condition=models.Q(session_id__isnull=False, user_id__isnull=True),
            ),
        ),
        BuildIndex(
            model_name="message",
            index=models.Index(condition=models.Q(("parent__isnull", False)), fields=["parent"], name="idx_messages_parent"),
        ),
        BuildIndex(
            model_name="conversation",
            index=models.Index(
                condition=models.Q(("assistant__isnull", False)), fields=["assistant"], name="idx_conversations_assistant"
            ),
        ),
        BuildIndex(
            model_name="conversation",
            index=models.Index(
                models.OrderBy(models.F("updated_at"), descending=True),
                models.OrderBy(models.F("id"), descending=True),
                name="idx_conversations_activity",
            ),
        ),
        migrations.RunPython(migrations.RunPython.noop, delete_empty_replies),
    ]
