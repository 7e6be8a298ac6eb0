"""Legal holds: what must not be deleted for now."""

from typing import ClassVar

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now
from django.utils import timezone

MOST_HOLD_REASON_CHARACTERS = 500


class LegalHold(models.Model):
    """A user or a conversation that every deletion spares. Written by `services.history.holds` only.

    The row stays when the hold ends: who held what, when and why is itself evidence.
    """

    # One of the two. Neither is a foreign key: users belong to the auth service, and the row outlives the conversation.
    user_id = models.UUIDField(null=True, blank=True)
    conversation_id = models.UUIDField(null=True, blank=True)
    reason = models.CharField(max_length=MOST_HOLD_REASON_CHARACTERS)
    placed_by = models.CharField(max_length=150)
    placed_at = models.DateTimeField("since", db_default=Now())
    # The hold ends by itself at this time. Null: only when it is released.
    ends_at = models.DateTimeField("until", null=True, blank=True)
    released_by = models.CharField(max_length=150, blank=True, default="", db_default="")
    released_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "legal_holds"
        indexes: ClassVar = [
            # Most holds end some time. Every deletion looks here, so only those that may still be in force are indexed.
            models.Index(
                fields=["user_id"], name="idx_legal_holds_user", condition=Q(released_at__isnull=True, user_id__isnull=False)
            ),
            models.Index(
                fields=["conversation_id"],
                name="idx_legal_holds_conversation",
                condition=Q(released_at__isnull=True, conversation_id__isnull=False),
            ),
            models.Index(F("placed_at").desc(), F("id").desc(), name="idx_legal_holds_placed"),
        ]
        constraints: ClassVar = [
            models.CheckConstraint(
                name="ck_legal_holds_subject",
                condition=Q(user_id__isnull=True, conversation_id__isnull=False)
                | Q(user_id__isnull=False, conversation_id__isnull=True),
            )
        ]

    def __str__(self) -> str:
        return f"hold {self.pk} on {'conversation' if self.conversation_id else 'user'} {self.conversation_id or self.user_id}"

    @property
    def is_in_force(self) -> bool:
        """Whether deletions spare it. The database's clock decides about deletions, this machine's about what is shown."""
        return self.released_at is None and (self.ends_at is None or self.ends_at > timezone.now())
