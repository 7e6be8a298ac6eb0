"""Messages that wait until a reply of their conversation has ended."""

from typing import Any, ClassVar

from django.contrib.postgres.functions import TransactionNow
from django.db import models
from django.db.models import Q


class QueuedMessage(models.Model):
    """A message that waits for its turn. Only `services.replies.queued_rows` and `services.sending` write it.

    It is no row of `messages` until its turn comes, so nothing that reads a conversation can take it for a part of it. Then the
    question and its reply get the ids that were chosen here. The row stays until the inference service is asked.
    """

    id = models.UUIDField(primary_key=True)
    # Migration 0047 makes the foreign key in the database, with ON DELETE CASCADE.
    conversation = models.ForeignKey("Conversation", on_delete=models.DO_NOTHING, related_name="+", db_constraint=False)
    reply_id = models.UUIDField()
    # Its order among those of its conversation.
    place = models.IntegerField()
    content = models.TextField()
    # What the request chose: {"sampling", "model_tag", "assistant_id", "instructions", "options", "trace_id"}.
    request: "models.JSONField[Any, Any]" = models.JSONField()
    is_background = models.BooleanField(default=False, db_default=False)
    idempotency_key = models.CharField(max_length=200, null=True, blank=True)
    request_fingerprint = models.CharField(max_length=64, null=True, blank=True)
    # Whether a stop keeps it waiting, until the next send or a resume.
    is_held = models.BooleanField(default=False, db_default=False)
    # Whether its turn has come: its messages are saved, and its reply begins, or is begun by another worker.
    is_started = models.BooleanField(default=False, db_default=False)
    created_at = models.DateTimeField(db_default=TransactionNow())

    class Meta:
        db_table = "queued_messages"
        indexes: ClassVar = [
            # For the workers, which look for what may begin. What a stop keeps may stay for long.
            models.Index(fields=["created_at"], name="idx_queued_messages_due", condition=Q(is_held=False)),
        ]
        constraints: ClassVar = [
            models.UniqueConstraint(name="uq_queued_messages_place", fields=["conversation", "place"]),
            models.UniqueConstraint(name="uq_queued_messages_reply", fields=["reply_id"]),
            models.UniqueConstraint(
                name="uq_queued_messages_key",
                fields=["conversation", "idempotency_key"],
                condition=Q(idempotency_key__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"queued message {self.id}"
