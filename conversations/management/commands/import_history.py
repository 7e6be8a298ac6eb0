"""`manage.py import_history`: restore what export_history or an archive wrote. See services.history.importing."""

import json
from argparse import ArgumentParser
from dataclasses import asdict
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError

from conversations.management.arguments import positive
from conversations.management.failures import failing_clearly
from conversations.management.interruption import Interruption
from conversations.management.operator_command import OperatorCommand
from conversations.management.progress import ProgressReport
from conversations.services.history.importing import (
    DEFAULT_BATCH_LINES,
    ImportProblem,
    ImportResult,
    import_file,
    import_history,
)

EPILOG = """
The command changes no existing row. It skips rows whose id is already in the database, so you can repeat an import. Rows that
it cannot restore are counted as left out: a newer conversation uses their session id, their user is missing from the
predecessor's table of users, their user was erased (see --include-erased), or their conversation is not in the file before
them or belongs to another user in the database. A reply that was running at the time of the export is restored as interrupted.
A line can have at most 16 MiB.

exit codes: 0 done, 1 failed (earlier batches are imported), 2 wrong arguments, 130 and 143 interrupted.
"""


class Command(OperatorCommand):
    help = "Restore conversations and messages from a file of export_history or prune_history --archive."
    epilog = EPILOG

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path, metavar="FILE", help="FILE.jsonl or FILE.jsonl.gz")
        parser.add_argument("--include-erased", action="store_true", help="also restore users whom erase_user has erased")
        parser.add_argument("--batch-size", type=positive, default=DEFAULT_BATCH_LINES, metavar="N", help="rows per batch")
        parser.add_argument("--json", action="store_true", help="print the summary as one JSON object")

    def handle(self, **options: Any) -> None:
        silent = not options["verbosity"]
        with Interruption() as interruption, failing_clearly("The import failed"):
            try:
                with (
                    ProgressReport("messages read", self.stderr, total=None, is_silent=silent) as progress,
                    import_file(options["file"]) as source,
                ):
                    result = import_history(
                        source=source,
                        includes_erased=options["include_erased"],
                        batch_lines=options["batch_size"],
                        should_stop=interruption,
                        on_batch=lambda so_far: progress.reach(so_far.messages.inserted + so_far.messages.present),
                    )
            except ImportProblem as failure:
                raise CommandError(f"The import failed: {failure}") from None
        self._summarize(result, options)
        if not result.is_complete:
            raise SystemExit(interruption.exit_code)

    def _summarize(self, result: ImportResult, options: dict[str, Any]) -> None:
        if options["json"]:
            self.stdout.write(json.dumps(asdict(result)))
        elif options["verbosity"]:
            for name, rows in (("conversations", result.conversations), ("messages", result.messages)):
                self.stdout.write(
                    f"{name}: {rows.inserted:,} restored, {rows.present:,} already present, {rows.left_out:,} left out"
                )
            if result.erased_users:
                self.stdout.write(f"{result.erased_users:,} erased users were left out. --include-erased restores them.")
            if result.is_torn:
                self.stdout.write(
                    "The file ends in the middle of a batch. In an archive, the rows of that batch were not deleted."
                )
