"""Users who were moved to another installation of the service. Written by `services.history.cells` only."""

from django.db import models


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
