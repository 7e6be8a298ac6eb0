"""`manage.py count_usage`: add the usage that is missing from usage_totals. See services.usage_history."""

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError
from django.db import DatabaseError

from conversations.management.arguments import past_moment, seconds
from conversations.management.interruption import Interruption
from conversations.management.operator_command import OperatorCommand
from conversations.management.progress import ProgressReport
from conversations.services.usage_history import FIRST_DAY, CountResult, count_usage

EPILOG = """
The service counts usage in the table usage_totals as it runs, so deleting messages does not reduce it. `migrate` counts older
messages once. Run this command after the last worker of an older version, or of the predecessor, has ended: it adds what they
wrote after `migrate`. It also adds messages that were imported from another database. You can interrupt and repeat it: it
counts nothing twice.

exit codes: 0 done, 1 failed, 2 wrong arguments, 3 stopped by --max-seconds, 130 and 143 interrupted. After 1, 3, 130 and 143,
run the command again; --since continues at a given day.
"""


class Command(OperatorCommand):
    help = "Add usage that is in the messages but not yet in the daily totals of users."
    epilog = EPILOG

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--since", type=past_moment, metavar="DATE", help="first day (UTC), as a date or a period such as 90d"
        )
        parser.add_argument("--pause", type=seconds, default=0.0, metavar="SECONDS", help="wait this long between two days")
        parser.add_argument("--max-seconds", type=seconds, metavar="SECONDS", help="stop after this many seconds")
        parser.add_argument("--json", action="store_true", help="print the summary as one JSON object")

    def handle(self, **options: Any) -> None:
        silent = not options["verbosity"]
        with Interruption(options["max_seconds"]) as interruption:
            try:
                with ProgressReport("days counted", self.stderr, total=None, is_silent=silent) as progress:
                    result = count_usage(
                        since=options["since"].date() if options["since"] else FIRST_DAY,
                        pause_s=options["pause"],
                        should_stop=interruption,
                        on_day=lambda so_far: progress.reach(so_far.days),
                    )
            except DatabaseError as failure:
                raise CommandError(f"The database failed ({type(failure).__name__}). Run the command again.") from failure
        self._summarize(result, options)
        if not result.is_complete:
            raise SystemExit(interruption.exit_code)

    def _summarize(self, result: CountResult, options: dict[str, Any]) -> None:
        next_day = None if result.next_day is None else result.next_day.isoformat()
        if options["json"]:
            summary = {"days": result.days, "changed": result.changed, "next_day": next_day, "is_complete": result.is_complete}
            self.stdout.write(json.dumps(summary))
        elif options["verbosity"]:
            end = "." if result.is_complete else f"; continue with --since {next_day}."
            self.stdout.write(f"Counted {result.days:,} days, changed {result.changed:,} totals{end}")
