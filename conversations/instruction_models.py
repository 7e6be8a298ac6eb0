"""Users' own instructions."""

from django.contrib.postgres.functions import TransactionNow
from django.db import models

MAX_INSTRUCTIONS_CHARACTERS = 4_000


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
