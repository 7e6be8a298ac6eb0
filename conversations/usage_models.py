"""Users' usage, counted when they send. Deleting messages does not change it."""

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

    class Meta:
        db_table = "usage_totals"

    def __str__(self) -> str:
        return f"usage of {self.user_id} at {self.bucket}"
