"""Django's `migrate`, one at a time on a database, and with all checks before the first step."""

from typing import Any

from django.core.management.commands import migrate
from django.db import connections

from conversations.migrating.exclusive import one_migration_at_a_time
from conversations.migrating.guards import runs_first


class Command(migrate.Command):
    def handle(self, *args: Any, **options: Any) -> None:
        if options["plan"] or options["check_unapplied"]:
            super().handle(*args, **options)
            return
        with one_migration_at_a_time(connections[options["database"]]):
            before = runs_first.set(not (options["fake"] or options["fake_initial"]))
            try:
                super().handle(*args, **options)
            finally:
                runs_first.reset(before)
