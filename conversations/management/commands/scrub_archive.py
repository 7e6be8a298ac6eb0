"""`manage.py scrub_archive`: rewrite an archive without one person. See services.history.pruning.scrub."""

import json
from argparse import ArgumentParser
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast
from uuid import UUID

from django.core.management.base import CommandError

from conversations.management import arguments
from conversations.management.confirmation import confirm
from conversations.management.failures import failing_clearly
from conversations.management.hold_refusals import refuse_user_on_hold, saying_what_is_held
from conversations.management.interruption import Interruption
from conversations.management.operator_command import OperatorCommand
from conversations.management.progress import ProgressReport
from conversations.management.users import user_named
from conversations.services.history.files.archive_file_ends import ArchiveProblem
from conversations.services.history.pruning.scrub import ScrubResult, scrub_archive

EPILOG = """
Leaves out the user's conversations with their messages, and the user's own instructions. The counts and the hash in the last
line are made anew, so import_history and its --verify take the file as whole. It is written beside the old one, read again, and
then takes its name: the file is whole afterwards, or it is the old one. There must be room for both. An erased user is named by
the id. A file that is cut or changed is refused: the new file would not show that.

exit codes: 0 done, or nothing of the user was in the file; 1 failed; 2 wrong arguments or not confirmed; 4 the user or one of
the conversations is on hold (see legal_hold); 130 and 143 interrupted. After all but 0, the file is the old one.
"""


class Command(OperatorCommand):
    help = "Rewrite a file of prune_history --archive or export_history without one user."
    epilog = EPILOG

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("archive", type=Path, metavar="FILE", help="FILE.jsonl.gz or FILE.jsonl")
        parser.add_argument("--user", type=arguments.user, required=True, metavar="USER", help="an id or an e-mail address")
        parser.add_argument("--dry-run", action="store_true", help="change nothing, count what would be left out")
        parser.add_argument("--yes", action="store_true", help="do not ask for confirmation; required without a terminal")
        parser.add_argument("--json", action="store_true", help="print the summary as one JSON object")

    def handle(self, **options: Any) -> None:
        path: Path = options["archive"]
        if not path.is_file():
            raise CommandError(f"There is no file {path}.", returncode=2)
        silent = not options["verbosity"]
        with Interruption() as interruption, failing_clearly("Cannot rewrite the archive"), saying_what_is_held():
            user_id = cast(UUID, user_named(options["user"], may_be_unknown=True))
            refuse_user_on_hold(user_id)
            if not options["dry_run"] and not options["yes"]:
                confirm(lambda: f"Everything of the user {user_id} will be left out of {path}.", self.stderr)
            with ProgressReport("lines", self.stderr, total=None, is_silent=silent) as progress:
                try:
                    result = scrub_archive(
                        path=path,
                        user_id=user_id,
                        is_dry_run=options["dry_run"],
                        should_stop=interruption,
                        on_lines=lambda so_far: progress.reach(so_far.lines_read),
                    )
                except ArchiveProblem as problem:
                    raise CommandError(f"Nothing was changed: {problem}") from None
        if not result.is_complete:
            raise SystemExit(interruption.exit_code)
        self._summarize(result, options)

    def _summarize(self, result: ScrubResult, options: dict[str, Any]) -> None:
        if options["json"]:
            self.stdout.write(json.dumps({**asdict(result), "is_dry_run": options["dry_run"]}))
        elif options["verbosity"]:
            verb = "Would leave out" if options["dry_run"] else "Left out"
            own = " and the user's instructions" if result.instructions else ""
            self.stdout.write(f"{verb} {result.conversations:,} conversations, {result.messages:,} messages{own}.")
