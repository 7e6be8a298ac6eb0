"""`manage.py correct_activity`: put the times of the last turn right after taking over. See services.history.activity."""

import json
from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from conversations.management.arguments import HelpAsWritten, positive, seconds
from conversations.management.interruption import Interruption
from conversations.management.progress import ProgressReport
from conversations.services.history.activity import CorrectionResult, correct_activity
from conversations.services.history.id_batches import DEFAULT_BATCH_SIZE

EPILOG = """
The predecessor does not touch conversations.updated_at when it saves a message. A trigger does it for what it saves from the
migration on; this command does it for what it saved before. Run it once after `migrate`. It can be interrupted and repeated:
a conversation that is right is only read. One that is locked by a writer is skipped.

exit codes: 0 done, 1 failed, 2 wrong arguments, 3 --max-seconds was up, 130 and 143 interrupted; after all but 0 and 2, run it
again.
"""


class Command(BaseCommand):
    help = "Move each conversation's updated_at that is older than its newest message to that message's time."
    # They would load every URL and view; cron jobs start often.
    requires_system_checks = ()

    def create_parser(self, prog_name: str, subcommand: str, **options: Any) -> Any:
        return super().create_parser(prog_name, subcommand, epilog=EPILOG, formatter_class=HelpAsWritten, **options)

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--batch-size", type=positive, default=DEFAULT_BATCH_SIZE, metavar="N", help="conversations at a time"
        )
        parser.add_argument("--pause", type=seconds, default=0.0, metavar="SECONDS", help="between two batches")
        parser.add_argument("--max-seconds", type=seconds, metavar="SECONDS", help="end after so long")
        parser.add_argument("--json", action="store_true", help="the summary as one JSON object")

    def handle(self, **options: Any) -> None:
        silent = not options["verbosity"]
        with Interruption(options["max_seconds"]) as interruption:
            try:
                with ProgressReport("conversations examined", self.stderr, total=None, is_silent=silent) as progress:
                    result = correct_activity(
                        batch_size=options["batch_size"],
                        pause_s=options["pause"],
                        should_stop=interruption,
                        on_batch=lambda so_far: progress.reach(so_far.examined),
                    )
            except DatabaseError as failure:
                raise CommandError(f"The database failed ({type(failure).__name__}); run it again") from failure
        self._summarize(result, options)
        if not result.is_complete:
            raise SystemExit(interruption.exit_code)

    def _summarize(self, result: CorrectionResult, options: dict[str, Any]) -> None:
        if options["json"]:
            self.stdout.write(json.dumps(asdict(result)))
        elif options["verbosity"]:
            end = "." if result.is_complete else "; stopped before the end."
            self.stdout.write(f"Examined {result.examined:,} conversations, corrected {result.corrected:,}{end}")
