"""Users' usage, counted when they send, and their own limits. Deleting messages does not change usage."""

from typing import ClassVar

from django.contrib.postgres.indexes import BrinIndex
from django.db import models


class UsageTotal(models.Model):
    """The usage of one user in one quarter of an hour, in UTC. The days of every time zone consist of whole quarters."""

    pk = models.CompositePrimaryKey("user_id", "bucket")
    user_id = models.UUIDField()
    bucket = models.DateTimeField(help_text="when the quarter of an hour began")
    messages = models.BigIntegerField(default=0, db_default=0, help_text="that the user sent")
    replies = models.BigIntegerField(default=0, db_default=0)
    tokens = models.BigIntegerField(default=0, db_default=0, help_text="of the replies")
    prompt_tokens = models.BigIntegerField(default=0, db_default=0)
    inference_time_ms = models.BigIntegerField(default=0, db_default=0)
    # `{model: [replies, tokens, …]}` of ended replies: see `services.usage.model_totals`. Null: all of unknown models.
    by_model = models.JSONField(null=True, blank=True)

    class Meta:
        db_table = "usage_totals"
        # Rows are inserted in the order of time, so a small BRIN index finds those of this month.
        indexes: ClassVar = [BrinIndex(fields=["bucket"], name="idx_usage_totals_bucket")]

    def __str__(self) -> str:
        return f"usage of {self.user_id} at {self.bucket}"


class RefusedRequests(models.Model):
    """How many requests of one user were refused on one day (UTC), for staff."""

    pk = models.CompositePrimaryKey("user_id", "day")
    user_id = models.UUIDField()
    day = models.DateField()
    limited = models.BigIntegerField(default=0, db_default=0, help_text="answered with 429: over a limit")
    other = models.BigIntegerField(default=0, db_default=0, help_text="answered with another status from 400 to 499")

    class Meta:
        db_table = "refused_requests"
        default_permissions = ()
        # Finds the days that are deleted.
        indexes: ClassVar = [models.Index(fields=["day"], name="idx_refused_requests_day")]

    def __str__(self) -> str:
        return f"refused requests of {self.user_id} on {self.day}"


class UserQuota(models.Model):
    """The limits of one user, instead of those that the environment sets for all. Null: as for all; 0: no limit."""

    # Not a foreign key: users belong to the auth service.
    user_id = models.UUIDField("user's id", primary_key=True)
    tokens_day = models.PositiveBigIntegerField(
        "tokens per day", null=True, blank=True, help_text="Of replies, in UTC. Empty: QUOTA_TOKENS_DAY. 0: no limit."
    )
    tokens_month = models.PositiveBigIntegerField(
        "tokens per month", null=True, blank=True, help_text="Of replies, in UTC. Empty: QUOTA_TOKENS_MONTH. 0: no limit."
    )

    class Meta:
        db_table = "user_quotas"

    def __str__(self) -> str:
        return f"quota of {self.user_id}"
