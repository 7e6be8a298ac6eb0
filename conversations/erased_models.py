"""Tombstones of erased users."""

from django.contrib.postgres.functions import TransactionNow
from django.db import models


class ErasedUser(models.Model):
    """A user whom `erase_user` has erased: a keyed hash of the id. Written by `services.history.tombstones` only."""

    digest = models.CharField(max_length=64, primary_key=True)
    erased_at = models.DateTimeField(db_default=TransactionNow())

    class Meta:
        db_table = "erased_users"

    def __str__(self) -> str:
        return "an erased user"
