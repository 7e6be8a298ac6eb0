"""`manage.py correct_activity`: correct `updated_at` after a takeover. See services.history.activity."""

import json
from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandError
from django.db import DatabaseError

from conversations.management.arguments import positive, seconds
from conversations.management.interruption import Interruption
from conversations.management.operator_command import OperatorCommand
from conversations.management.progress import ProgressReport
from conversations.services.history.activity import CorrectionResult, correct_activity
from conversations.services.history.id_batches import DEFAULT_BATCH_SIZE

EPILOG = """
The predecessor does not change conversations.updated_at when it saves a message. Since migration 0010 a trigger does so for new
messages. This command corrects the conversations with older messages. Run it once after `migrate`. You can interrupt and repeat
it: conversations with a correct time are only read, and conversations that a writer has locked are skipped.

exit codes: 0 done, 1 failed, 2 wrong arguments, 3 stopped by --max-seconds, 130 and 143 interrupted. After 1, 3, 130 and 143,
run the command again.
"""


class Command(OperatorCommand):
    help = "Set updated_at to the time of the newest message where it is older than that message."
    epilog = EPILOG

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--batch-size", type=positive, default=DEFAULT_BATCH_SIZE, metavar="N", help="conversations per batch"
        )
        parser.add_argument("--pause", type=seconds, default=0.0, metavar="SECONDS", help="wait this long between two batches")
        parser.add_argument("--max-seconds", type=seconds, metavar="SECONDS", help="stop after this many seconds")
        parser.add_argument("--json", action="store_true", help="print the summary as one JSON object")

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
                raise CommandError(f"The database failed ({type(failure).__name__}). Run the command again.") from failure
        self._summarize(result, options)
        if not result.is_complete:
            raise SystemExit(interruption.exit_code)

    def _summarize(self, result: CorrectionResult, options: dict[str, Any]) -> None:
        if options["json"]:
            self.stdout.write(json.dumps(asdict(result)))
        elif options["verbosity"]:
            end = "." if result.is_complete else "; stopped before the end."
            self.stdout.write(f"Examined {result.examined:,} conversations, corrected {result.corrected:,}{end}")
