"""Running exports of users."""

from django.db import models


class ExportHold(models.Model):
    """A user's running export, so that each has one at a time on all nodes. Written by `services.history.export_holds` only."""

    user_id = models.UUIDField(primary_key=True)
    holder = models.UUIDField()
    held_until = models.DateTimeField()

    class Meta:
        db_table = "export_holds"

    def __str__(self) -> str:
        return f"export of {self.user_id}"
