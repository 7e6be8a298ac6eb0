"""`manage.py import_history`: restore what export_history or an archive wrote, or bring the chats of another application.

See services.history.imports.importing and services.history.imports.foreign.
"""

import json
from argparse import ArgumentParser
from dataclasses import asdict
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError

from conversations.management.arguments import positive, user
from conversations.management.chat_imports import row_sentences, sentences
from conversations.management.failures import failing_clearly
from conversations.management.interruption import Interruption
from conversations.management.operator_command import OperatorCommand
from conversations.management.paths import require_readable
from conversations.management.progress import ProgressReport
from conversations.management.users import user_named
from conversations.services.history.files.reading import (
    STANDARD_INPUT,
    ImportProblem,
    Inspection,
    can_be_read_twice,
    import_file,
    inspect_file,
)
from conversations.services.history.files.seals import Condition
from conversations.services.history.imports.foreign.importing import APPLICATIONS, import_chats
from conversations.services.history.imports.importing import DEFAULT_BATCH_LINES, ImportResult, import_history

UNMARKED = UNREADABLE = 3
REFUSALS = {
    Condition.CUT: "the file ends before its end: it was cut, or the run that wrote it was killed",
    Condition.CHANGED: "the file was changed or is damaged: its last line counts other rows",
}
EPILOG = """
The command changes no existing row. It skips rows whose id is already in the database, so you can repeat an import. Rows that
it cannot restore are counted as left out: a newer conversation uses their session id, their user is missing from the
predecessor's table of users, their user was erased (see --include-erased), or their conversation is not in the file before
them or belongs to another user in the database. A reply that was running at the time of the export is restored as interrupted.
A line can have at most 16 MiB.

The last line of a file has the numbers of its rows and a checksum. The file is read to its end and compared before anything is
imported. A file that was cut or changed is refused, unless you add --accept-damaged. Standard input and pipes can be read only
once: their rows are imported before the end is known, and then the command fails. Files of older versions have no such line and
are imported without this check.

With --from, the file is an export of ChatGPT (conversations.json, or the zip that it comes in), of Open WebUI or of LibreChat
(JSON, or a zip of JSON files), and --user says whose conversations they become. Conversations that were imported before are
left as they are. --dry-run says what cannot be read and why.

exit codes: 0 done, 1 failed or refused (batches before a failure are imported), 2 wrong arguments, 3 with --verify: an
older version wrote the file, so nothing shows whether rows are missing; 3 with --from: some conversations cannot be read and
are left out, 130 and 143 interrupted.
"""


class Command(OperatorCommand):
    help = (
        "Restore conversations from a file of export_history or prune_history --archive, or bring those of another application."
    )
    epilog = EPILOG

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", metavar="FILE", help="FILE.jsonl or FILE.jsonl.gz; - is standard input")
        parser.add_argument("--user", type=user, metavar="USER", help="only this user's: an id or a known e-mail address")
        parser.add_argument(
            "--from", choices=sorted(APPLICATIONS), dest="application", help="the application that wrote the file"
        )
        parser.add_argument("--verify", action="store_true", help="import nothing; say whether the file is whole")
        parser.add_argument("--dry-run", action="store_true", help="import nothing; count what would be imported")
        parser.add_argument("--accept-damaged", action="store_true", help="import what a cut or changed file still has")
        parser.add_argument("--include-erased", action="store_true", help="also restore users whom erase_user has erased")
        parser.add_argument("--batch-size", type=positive, default=DEFAULT_BATCH_LINES, metavar="N", help="rows per batch")
        parser.add_argument("--json", action="store_true", help="print the summary as one JSON object")

    def handle(self, **options: Any) -> None:
        if options["verify"] and (options["dry_run"] or options["user"] or options["accept_damaged"]):
            raise CommandError(
                "--verify reads the whole file and imports nothing. Do not combine it with --dry-run, --user or "
                "--accept-damaged.",
                returncode=2,
            )
        if options["application"]:
            _refuse_options(options)
        if options["file"] != STANDARD_INPUT:
            require_readable(Path(options["file"]), "Cannot read the file")
        with Interruption() as interruption, failing_clearly("The import failed"):
            try:
                # The file may have a user of whom nothing is stored here.
                options["user"] = user_named(options["user"], may_be_unknown=True)
                if options["application"]:
                    self._bring(options, interruption)
                elif options["verify"]:
                    self._verify(options, interruption)
                else:
                    self._import(options, interruption)
            except ImportProblem as failure:
                raise CommandError(f"The import failed: {failure}") from None

    def _verify(self, options: dict[str, Any], interruption: Interruption) -> None:
        inspection = self._inspect(options, interruption)
        if options["json"]:
            self.stdout.write(json.dumps(asdict(inspection)))
        elif options["verbosity"]:
            self.stdout.write(f"{inspection.conversations:,} conversations, {inspection.messages:,} messages.")
        if inspection.condition in REFUSALS:
            raise CommandError(f"Not whole: {REFUSALS[inspection.condition]}.")
        if inspection.condition == Condition.UNMARKED:
            raise CommandError(
                "An older version wrote the file, or a part of it. Nothing shows whether rows are missing.",
                returncode=UNMARKED,
            )

    def _import(self, options: dict[str, Any], interruption: Interruption) -> None:
        if can_be_read_twice(options["file"]) and not options["accept_damaged"]:
            inspection = self._inspect(options, interruption)
            if inspection.condition in REFUSALS:
                raise ImportProblem(f"{REFUSALS[inspection.condition]}. --accept-damaged imports what it has.")
        with self._progress("messages read", options) as progress, import_file(options["file"]) as source:
            result = import_history(
                source=source,
                only_user=options["user"],
                includes_erased=options["include_erased"],
                is_dry_run=options["dry_run"],
                batch_lines=options["batch_size"],
                should_stop=interruption,
                on_batch=lambda so_far: progress.reach(so_far.messages.inserted + so_far.messages.present),
            )
        self._summarize(result, options)
        if not result.is_complete:
            raise SystemExit(interruption.exit_code)
        if result.condition in REFUSALS and not options["accept_damaged"]:
            raise ImportProblem(f"{REFUSALS[result.condition]}. The rows before that were imported.")

    def _bring(self, options: dict[str, Any], interruption: Interruption) -> None:
        with self._progress("conversations read", options) as progress:
            result = import_chats(
                name=options["file"],
                application=options["application"],
                user_id=options["user"],
                includes_erased=options["include_erased"],
                is_dry_run=options["dry_run"],
                should_stop=interruption,
                on_batch=lambda so_far: progress.reach(so_far.conversations.inserted + so_far.conversations.present),
            )
        if options["json"]:
            self.stdout.write(json.dumps({**asdict(result), "is_dry_run": options["dry_run"]}))
        elif options["verbosity"]:
            self.stdout.write("\n".join(sentences(result, is_dry_run=options["dry_run"])))
        if result.failure:
            raise ImportProblem(f"{result.failure}. What comes before that was read.")
        if not result.is_complete:
            raise SystemExit(interruption.exit_code)
        if result.unreadable:
            raise SystemExit(UNREADABLE)

    def _inspect(self, options: dict[str, Any], interruption: Interruption) -> Inspection:
        with self._progress("messages checked", options) as progress:
            inspection = inspect_file(
                options["file"], should_stop=interruption, on_lines=lambda so_far: progress.reach(so_far.messages)
            )
        if not inspection.is_complete:
            if options["verbosity"]:
                self.stderr.write("Stopped while the file was checked. Nothing was imported.")
            raise SystemExit(interruption.exit_code)
        return inspection

    def _progress(self, what: str, options: dict[str, Any]) -> ProgressReport:
        return ProgressReport(what, self.stderr, total=None, is_silent=not options["verbosity"])

    def _summarize(self, result: ImportResult, options: dict[str, Any]) -> None:
        if options["json"]:
            self.stdout.write(json.dumps({**asdict(result), "is_dry_run": options["dry_run"]}))
        elif options["verbosity"]:
            self.stdout.write("\n".join(row_sentences(result, "restored", is_dry_run=options["dry_run"])))
            if result.erased_users:
                self.stdout.write(f"{_erased(result.erased_users)} left out. --include-erased restores them.")
            if result.is_torn:
                self.stdout.write(
                    "The file ends in the middle of a batch. In an archive, the rows of that batch were not deleted."
                )


def _refuse_options(options: dict[str, Any]) -> None:
    if not options["user"]:
        raise CommandError("--from needs --user: whose conversations they become.", returncode=2)
    if options["verify"] or options["accept_damaged"]:
        raise CommandError("--verify and --accept-damaged are for files of this service, not for --from.", returncode=2)


def _erased(users: int) -> str:
    return "1 erased user was" if users == 1 else f"{users:,} erased users were"
