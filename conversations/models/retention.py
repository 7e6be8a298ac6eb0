"""Retention rules, which say how long something is kept, and when history was last pruned."""

from typing import ClassVar
from uuid import UUID

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Coalesce, Now

NOBODY = UUID(int=0)
# `/api/usage` and quotas read the usage of that many days.
LEAST_USAGE_DAYS = 94
MOST_DAYS = 36_500


class Kept(models.TextChoices):
    """What a rule is about."""

    CONVERSATIONS = "conversations", "conversations"
    USAGE_TOTALS = "usage_totals", "usage totals"
    STAFF_ACCESS = "staff_access", "access by staff"
    CHAT_USERS = "chat_users", "users without conversations"
    ARCHIVES = "archives", "archive files"


class RetentionRule(models.Model):
    """Keep something for a number of days. `prune_history --by-rules` deletes what is older.

    Of several rules for a conversation, the most specific one counts: its user's, its assistant's, its model's, the one for
    anonymous callers, the one for all.
    """

    what = models.CharField("of what", max_length=20, choices=Kept.choices, default=Kept.CONVERSATIONS)
    # At most one of the four, and only for conversations. None is a foreign key: a rule must not keep anyone from deleting
    # an assistant, also on nodes of the version before.
    user_id = models.UUIDField(null=True, blank=True)
    assistant_id = models.UUIDField(null=True, blank=True)
    model_tag = models.CharField("model", max_length=100, blank=True, default="", db_default="")
    is_anonymous = models.BooleanField("of anonymous callers", default=False, db_default=False)
    days = models.PositiveIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(MOST_DAYS)],
        help_text="Without a turn (of users: unseen). Empty: kept for ever, whatever less specific rules say.",
    )
    includes_favorites = models.BooleanField("favourites too", default=False, db_default=False)

    class Meta:
        db_table = "retention_rules"
        constraints: ClassVar = [
            models.CheckConstraint(
                name="ck_retention_rules_days", condition=Q(days__isnull=True) | Q(days__range=(1, MOST_DAYS))
            ),
            models.CheckConstraint(
                name="ck_retention_rules_usage",
                condition=~Q(what="usage_totals") | Q(days__isnull=True) | Q(days__gte=LEAST_USAGE_DAYS),
                violation_error_message=f"Usage totals stay for {LEAST_USAGE_DAYS} days: /api/usage and quotas read them.",
            ),
            models.UniqueConstraint(
                F("what"),
                Coalesce(F("user_id"), NOBODY),
                Coalesce(F("assistant_id"), NOBODY),
                F("model_tag"),
                F("is_anonymous"),
                name="uq_retention_rules",
                violation_error_message="There is such a rule already.",
            ),
        ]

    def __str__(self) -> str:
        kept = "kept for ever" if self.days is None else f"kept for {self.days} days"
        return f"{self.subject}: {kept}"

    @property
    def subject(self) -> str:
        """What the rule is about, as text for people. Users and assistants are named by their ids."""
        what = str(Kept(self.what).label)
        if self.user_id:
            return f"{what} of the user {self.user_id}"
        if self.assistant_id:
            return f"{what} with the assistant {self.assistant_id}"
        if self.model_tag:
            return f"{what} with the model {self.model_tag}"
        return f"{what} of anonymous callers" if self.is_anonymous else what


class PruneRun(models.Model):
    """The last scheduled run of `prune_history` with these criteria. Written by `services.history.pruning.prune_runs` only."""

    criteria = models.CharField(max_length=100, primary_key=True, help_text="the names of the options, without their values")
    finished_at = models.DateTimeField(db_default=Now())
    conversations = models.BigIntegerField(help_text="that the run deleted")
    messages = models.BigIntegerField(help_text="that the run deleted")

    class Meta:
        db_table = "prune_runs"

    def __str__(self) -> str:
        return f"{self.criteria} at {self.finished_at}"
