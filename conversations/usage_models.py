"""What users have used, counted as it happens: independent of the messages, which may be deleted."""

from django.db import models


class UsageTotal(models.Model):
    """What one user used in one quarter of an hour, in UTC. Days of every time zone are made of these."""

    pk = models.CompositePrimaryKey("user_id", "bucket")
    user_id = models.UUIDField()
    bucket = models.DateTimeField(help_text="when the quarter of an hour began")
    messages = models.BigIntegerField(default=0, db_default=0, help_text="that the user sent")
    replies = models.BigIntegerField(default=0, db_default=0)
    tokens = models.BigIntegerField(default=0, db_default=0, help_text="of the replies")
    prompt_tokens = models.BigIntegerField(default=0, db_default=0)
    inference_time_ms = models.BigIntegerField(default=0, db_default=0)

    class Meta:
        db_table = "usage_totals"

    def __str__(self) -> str:
        return f"usage of {self.user_id} at {self.bucket}"
