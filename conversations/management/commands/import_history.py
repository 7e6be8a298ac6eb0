"""`manage.py import_history`: read back what export_history or an archive wrote. See services.importing."""

import json
from argparse import ArgumentParser
from dataclasses import asdict
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from conversations.management.arguments import HelpAsWritten, positive
from conversations.management.interruption import Interruption
from conversations.management.progress import ProgressReport
from conversations.services.history.importing import (
    DEFAULT_BATCH_LINES,
    ImportProblem,
    ImportResult,
    import_file,
    import_history,
)

EPILOG = """
Nothing that is in the database is changed: rows whose id is there already are passed over, so an import can be repeated.
Rows that can't be put back are counted as left out: their session was begun anew, their user is gone from the predecessor's
table of users, or their conversation is neither there nor in the file. A reply that was running when it was exported comes
back as interrupted. A line may have 16 MiB at most.

exit codes: 0 done, 1 failed (what came before is imported), 2 wrong arguments, 130 and 143 interrupted.
"""


class Command(BaseCommand):
    help = "Put conversations and messages back from a file of export_history or prune_history --archive."
    # They would load every URL and view; cron jobs start often.
    requires_system_checks = ()

    def create_parser(self, prog_name: str, subcommand: str, **options: Any) -> Any:
        return super().create_parser(prog_name, subcommand, epilog=EPILOG, formatter_class=HelpAsWritten, **options)

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path, metavar="FILE", help="FILE.jsonl or FILE.jsonl.gz")
        parser.add_argument("--batch-size", type=positive, default=DEFAULT_BATCH_LINES, metavar="N", help="rows at a time")
        parser.add_argument("--json", action="store_true", help="the summary as one JSON object")

    def handle(self, **options: Any) -> None:
        silent = not options["verbosity"]
        with Interruption() as interruption:
            try:
                with (
                    ProgressReport("messages read", self.stderr, total=None, is_silent=silent) as progress,
                    import_file(options["file"]) as source,
                ):
                    result = import_history(
                        source=source,
                        batch_lines=options["batch_size"],
                        should_stop=interruption,
                        on_batch=lambda so_far: progress.reach(so_far.messages.inserted + so_far.messages.present),
                    )
            except (ImportProblem, OSError) as failure:
                raise CommandError(f"Not imported: {failure}") from None
        self._summarize(result, options)
        if not result.is_complete:
            raise SystemExit(interruption.exit_code)

    def _summarize(self, result: ImportResult, options: dict[str, Any]) -> None:
        if options["json"]:
            self.stdout.write(json.dumps(asdict(result)))
        elif options["verbosity"]:
            for name, rows in (("conversations", result.conversations), ("messages", result.messages)):
                self.stdout.write(
                    f"{name}: {rows.inserted:,} put back, {rows.present:,} were there, {rows.left_out:,} left out"
                )
            if result.is_torn:
                self.stdout.write("The file ends in the middle of a batch. Of an archive nothing is missing by that.")
