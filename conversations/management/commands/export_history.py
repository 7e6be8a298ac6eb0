"""`manage.py export_history`: write conversations to a file. See services.history.exports.export."""

import json
from argparse import ArgumentParser
from dataclasses import asdict
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError

from conversations.management.arguments import past_moment, positive, user
from conversations.management.failures import failing_clearly
from conversations.management.interruption import Interruption
from conversations.management.operator_command import OperatorCommand
from conversations.management.paths import require_writable
from conversations.management.progress import ProgressReport
from conversations.management.users import user_named
from conversations.services.history.exports.export import STANDARD_OUTPUT, ExportResult, Format, export_file, export_history
from conversations.services.history.exports.personal_data import EverythingResult, export_everything
from conversations.services.history.id_batches import DEFAULT_BATCH_SIZE

MARKDOWN_ENDINGS = (".md", ".markdown")
LINES_ENDINGS = (".jsonl", ".json", ".ndjson")
EPILOG = """
JSON lines contain every column, and import_history can read them. Markdown is for people: it contains only the active branch,
so one version of each answer. The file's name selects the format (.jsonl, .json, .md or .markdown) unless you give --format. A
file whose name ends in .gz is compressed. The file appears when the export is complete, and only its owner can
read it.

exit codes: 0 done, 1 failed, 2 wrong arguments, 130 and 143 interrupted. After every code except 0, no file is written;
standard output may hold a part of the export.
"""


class Command(OperatorCommand):
    help = "Write conversations with their messages to a file: those of one user, of a period, or all."
    epilog = EPILOG

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("output", metavar="FILE", help="FILE.jsonl, FILE.jsonl.gz or FILE.md; - is standard output")
        parser.add_argument("--user", type=user, metavar="USER", help="only this user's: an id or an e-mail address")
        parser.add_argument("--anonymous", action="store_true", help="only conversations of anonymous callers")
        parser.add_argument(
            "--since", type=past_moment, metavar="WHEN", help="last turn at or after: 90d, 12w, 6m, 1y or a date"
        )
        parser.add_argument("--until", type=past_moment, metavar="WHEN", help="last turn before; same forms as --since")
        parser.add_argument("--all", action="store_true", help="all conversations")
        parser.add_argument(
            "--everything",
            action="store_true",
            help="with --user: all that is stored about them, as FILE.zip",
        )
        parser.add_argument("--format", choices=["jsonl", "markdown"])
        parser.add_argument(
            "--batch-size", type=positive, default=DEFAULT_BATCH_SIZE, metavar="N", help="conversations per batch"
        )
        parser.add_argument("--json", action="store_true", help="print the summary as one JSON object")

    def handle(self, **options: Any) -> None:
        chosen = [options["user"], options["anonymous"], options["since"], options["until"]]
        if bool(options["all"]) == any(chosen):
            raise CommandError(
                "Choose what to export: either --all, or at least one of --user, --anonymous, --since and --until.",
                returncode=2,
            )
        if options["user"] and options["anonymous"]:
            raise CommandError("--user and --anonymous exclude each other. Use only one of them.", returncode=2)
        if options["since"] and options["until"] and options["since"] >= options["until"]:
            raise CommandError("--since is not before --until, so nothing would be exported.", returncode=2)
        if options["everything"]:
            _refuse_besides_user(options)
        else:
            _refuse_name(options["output"], options["format"])
        with Interruption() as interruption, failing_clearly("Cannot write the file"):
            options["user"] = user_named(options["user"])
            result = self._export(options, interruption)
        self._summarize(result, options)

    def _export(self, options: dict[str, Any], interruption: Interruption) -> ExportResult | EverythingResult:
        silent = not options["verbosity"]
        with (
            ProgressReport("conversations exported", self.stderr, total=None, is_silent=silent) as progress,
            export_file(options["output"]) as target,
        ):
            shared: dict[str, Any] = {
                "target": target,
                "user_id": options["user"],
                "should_stop": interruption,
                "on_batch": lambda so_far: progress.reach(so_far.conversations),
            }
            result: ExportResult | EverythingResult
            if options["everything"]:
                result = export_everything(**shared)
            else:
                result = export_history(
                    file_format=options["format"] or _format_of(options["output"]),
                    is_anonymous=options["anonymous"],
                    since=options["since"],
                    before=options["until"],
                    batch_size=options["batch_size"],
                    **shared,
                )
            if not result.is_complete:
                # An exception makes export_file remove the unfinished file.
                raise SystemExit(interruption.exit_code)
        return result

    def _summarize(self, result: ExportResult | EverythingResult, options: dict[str, Any]) -> None:
        stream = self.stderr if options["output"] == STANDARD_OUTPUT else self.stdout
        if options["json"]:
            stream.write(json.dumps(asdict(result)))
        elif options["verbosity"]:
            stream.write(f"Exported {result.conversations:,} conversations, {result.messages:,} messages.")


def _refuse_besides_user(options: dict[str, Any]) -> None:
    """Refuse what does not go with --everything."""
    others = ("anonymous", "since", "until", "all", "format")
    if not options["user"] or any(options[name] for name in others):
        raise CommandError("--everything goes with --user, and with nothing else that chooses.", returncode=2)
    if options["output"] == STANDARD_OUTPUT:
        return
    if not options["output"].endswith(".zip"):
        raise CommandError(f"{options['output']} must end in .zip.", returncode=2)
    require_writable(Path(options["output"]), "Cannot write the file")


def _format_of(name: str) -> Format:
    return "markdown" if name.removesuffix(".gz").endswith(MARKDOWN_ENDINGS) else "jsonl"


def _refuse_name(name: str, file_format: str | None) -> None:
    """Refuse a file that can't be written, or whose name promises another format, before anything is read."""
    if name == STANDARD_OUTPUT:
        return
    if not file_format and not name.removesuffix(".gz").endswith((*MARKDOWN_ENDINGS, *LINES_ENDINGS)):
        raise CommandError(
            f"{name} names no format that can be written. End it in .jsonl or .md, or add --format.", returncode=2
        )
    require_writable(Path(name), "Cannot write the file")
