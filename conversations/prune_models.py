"""When history was pruned."""

from django.db import models
from django.db.models.functions import Now


class PruneRun(models.Model):
    """The last scheduled run of `prune_history` with these criteria. Written by `services.history.prune_runs` only."""

    criteria = models.CharField(max_length=100, primary_key=True, help_text="the names of the options, without their values")
    finished_at = models.DateTimeField(db_default=Now())
    conversations = models.BigIntegerField(help_text="that the run deleted")
    messages = models.BigIntegerField(help_text="that the run deleted")

    class Meta:
        db_table = "prune_runs"

    def __str__(self) -> str:
        return f"{self.criteria} at {self.finished_at}"
