"""Keys of requests that create a conversation."""

from typing import ClassVar

from django.contrib.postgres.functions import TransactionNow
from django.db import models


class CreationKey(models.Model):
    """An `Idempotency-Key` with which a user created a conversation, for a day. Written by `services.creation_keys` only."""

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
