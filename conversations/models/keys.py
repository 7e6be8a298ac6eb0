"""Requests about conversations that do not exist yet: keys that create one, and stops that come before it."""

from typing import ClassVar

from django.contrib.postgres.functions import TransactionNow
from django.db import models


class CreationKey(models.Model):
    """An `Idempotency-Key` with which a user created a conversation, for a day.

    Only `services.sending.creation_keys` writes it.
    """

    user_id = models.UUIDField()
    key = models.CharField(max_length=200)
    fingerprint = models.CharField(max_length=64)
    # Migration 0023 makes the foreign key in the database, with ON DELETE CASCADE.
    conversation = models.ForeignKey("Conversation", on_delete=models.DO_NOTHING, related_name="+", db_constraint=False)
    created_at = models.DateTimeField(db_default=TransactionNow())

    class Meta:
        db_table = "creation_keys"
        constraints: ClassVar = [models.UniqueConstraint(name="uq_creation_keys", fields=["user_id", "key"])]

    def __str__(self) -> str:
        return f"creation of {self.conversation_id}"


class EarlyStop(models.Model):
    """A stop of a chat that did not exist yet. Written by `services.replies.early_stops` only."""

    user_id = models.UUIDField()
    name = models.CharField(max_length=200)
    key = models.CharField(max_length=200, null=True)
    stopped_at = models.DateTimeField()

    class Meta:
        db_table = "early_stops"
        constraints: ClassVar = [models.UniqueConstraint(name="uq_early_stops", fields=["user_id", "name"])]

    def __str__(self) -> str:
        return f"stop of a chat at {self.stopped_at}"
