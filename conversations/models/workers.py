"""The workers that make replies. Each renews its row while it lives; see `services.replies.leases`."""

from django.db import models


class Worker(models.Model):
    """The lease of one worker process. A reader that sees `renewals` unchanged for long enough calls the worker dead."""

    id = models.UUIDField(primary_key=True)
    # Compared for change only, never with a clock.
    renewals = models.BigIntegerField(default=1, db_default=1)
    host = models.CharField(max_length=255, default="", db_default="")
    # The start of that machine's kernel and the name space of its process ids. "" if unknown.
    boot = models.CharField(max_length=100, default="", db_default="")
    pid = models.BigIntegerField(default=0, db_default=0)
    # When the process started, as its kernel counts. Another process may get the same id later.
    process_start = models.BigIntegerField(null=True, blank=True)
    # The start of the PostgreSQL server that holds the worker's advisory lock. Null if the worker has none.
    lock_server = models.CharField(max_length=40, null=True, blank=True)

    class Meta:
        db_table = "workers"

    def __str__(self) -> str:
        return f"worker {self.pid} of {self.host}"
