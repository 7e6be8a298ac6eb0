"""What is to be told to the receiver of webhooks. Triggers write it (migration 0053); `services.webhooks` delivers it."""

from typing import ClassVar

from django.contrib.postgres.functions import RandomUUID, TransactionNow
from django.db import models

from conversations.new_ids import new_id


class WebhookSwitch(models.Model):
    """Whether events are noted: the one row says when a process with WEBHOOK_URL last asked for them."""

    id = models.SmallIntegerField(primary_key=True)
    renewed_at = models.DateTimeField()

    class Meta:
        db_table = "webhook_switch"

    def __str__(self) -> str:
        return f"renewed at {self.renewed_at}"


class WebhookEvent(models.Model):
    """An event that is not delivered yet. What is delivered is deleted."""

    id = models.UUIDField(primary_key=True, default=new_id, db_default=RandomUUID(), editable=False)
    kind = models.CharField(max_length=40)
    # Ids and states, no text: what the receiver gets as `data`.
    data = models.JSONField()
    created_at = models.DateTimeField(db_default=TransactionNow())
    # When it is delivered at the earliest. A process that delivers it puts this off, so that no other does meanwhile.
    # Null: given up.
    due_at = models.DateTimeField("next attempt", null=True, blank=True, db_default=TransactionNow())
    attempts = models.IntegerField(default=0, db_default=0)
    # What went wrong the last time, in a word of ours: nothing of what the receiver said.
    last_failure = models.CharField(max_length=100, null=True, blank=True)

    class Meta:
        db_table = "webhook_events"
        indexes: ClassVar = [
            models.Index(fields=["due_at"], name="idx_webhook_events_due", condition=models.Q(due_at__isnull=False)),
            models.Index(fields=["created_at"], name="idx_webhook_events_created"),
        ]
        permissions: ClassVar = [("retry_webhookevent", "Can try to deliver webhook events again")]

    def __str__(self) -> str:
        return f"{self.kind} {self.id}"
