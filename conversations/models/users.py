"""Users of the auth service, as far as this service keeps something of each."""

from typing import ClassVar

from django.contrib.postgres.functions import TransactionNow
from django.contrib.postgres.indexes import OpClass
from django.db import models
from django.db.models import F
from django.db.models.functions import Upper

from conversations.models.columns import transaction_time

MAX_INSTRUCTIONS_CHARACTERS = 4_000


class ChatUser(models.Model):
    """What the auth service last said of a user; for staff to search by, never something that others depend on."""

    id = models.UUIDField(primary_key=True)
    email = models.CharField(max_length=255, blank=True, default="", db_default="")
    name = models.CharField(max_length=255, blank=True, default="", db_default="")
    is_admin = models.BooleanField(default=False, db_default=False)
    first_seen_at = transaction_time()
    last_seen_at = transaction_time()

    class Meta:
        db_table = "chat_users"
        permissions: ClassVar = [("erase_chatuser", "Can erase users")]
        indexes: ClassVar = [
            # text_pattern_ops: in most collations an ordinary index can't find beginnings. It finds exact ones as well.
            models.Index(OpClass(Upper("email"), name="text_pattern_ops"), name="idx_chat_users_email_prefix"),
            models.Index(OpClass(Upper("name"), name="text_pattern_ops"), name="idx_chat_users_name_prefix"),
            models.Index(F("last_seen_at").desc(), F("id").desc(), name="idx_chat_users_seen"),
        ]

    def __str__(self) -> str:
        return self.email or str(self.id)


class UserInstructions(models.Model):
    """What a user wants to be told to the model in all conversations. Read by `LOCK_SQL` of `services.sending.statements`."""

    user_id = models.UUIDField(primary_key=True)
    text = models.TextField()
    is_active = models.BooleanField(default=True, db_default=True)
    updated_at = models.DateTimeField(db_default=TransactionNow())

    class Meta:
        db_table = "user_instructions"
        verbose_name_plural = "user instructions"

    def __str__(self) -> str:
        return f"instructions of {self.user_id}"


class ExportHold(models.Model):
    """A user's running export, so that each has one at a time on all nodes.

    Only `services.history.exports.export_holds` writes it.
    """

    user_id = models.UUIDField(primary_key=True)
    holder = models.UUIDField()
    held_until = models.DateTimeField()

    class Meta:
        db_table = "export_holds"

    def __str__(self) -> str:
        return f"export of {self.user_id}"


class ErasedUser(models.Model):
    """A user whom `erase_user` has erased: a keyed hash of the id. Written by `services.history.tombstones` only."""

    digest = models.CharField(max_length=64, primary_key=True)
    erased_at = models.DateTimeField(db_default=TransactionNow())

    class Meta:
        db_table = "erased_users"

    def __str__(self) -> str:
        return "an erased user"


class MovedUser(models.Model):
    """A user who is being moved to another cell, or was. Triggers refuse to change the user's history (migration 0063)."""

    # Not a foreign key: users belong to the auth service.
    user_id = models.UUIDField(primary_key=True)
    begun_at = models.DateTimeField()
    # From then on nothing of the user changes any more, ends of replies included: none runs.
    closed_at = models.DateTimeField(null=True, blank=True)
    # When the archive was complete. Only then may what is here be erased.
    archived_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "moved_users"

    def __str__(self) -> str:
        return f"moved user {self.user_id}"
