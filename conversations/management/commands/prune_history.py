"""`manage.py prune_history`: delete old or unwanted conversations. See services.history.pruning.prune."""

import json
import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError
from django.template.defaultfilters import filesizeformat

from conversations.management.arguments import past_moment, positive, seconds, tag, user
from conversations.management.confirmation import confirm
from conversations.management.failures import failing_clearly
from conversations.management.interruption import Interruption
from conversations.management.operator_command import OperatorCommand
from conversations.management.paths import require_writable
from conversations.management.progress import ProgressReport
from conversations.management.rules import rules_sentence
from conversations.management.users import user_named
from conversations.models import Status
from conversations.services.history.files.archive_file import ArchiveFile, problem_with_name
from conversations.services.history.files.archive_file_ends import ArchiveProblem
from conversations.services.history.pruning.prune import (
    BATCH_S,
    LARGEST_BATCH,
    PruneCriteria,
    PruneResult,
    matching,
    measure,
    prune_history,
)
from conversations.services.history.pruning.prune_runs import note_prune_run
from conversations.services.history.pruning.retention import apply_rules

FINAL_STATUSES = [status for status in Status.values if status != Status.STREAMING]
CONTINUED = "It has all that was deleted. Make room, or copy it to another disk, and run the command again: it goes on there."
EPILOG = """
A conversation must match all given criteria; give at least one, or --by-rules. The command never deletes a conversation with a
running reply, deletes favourites only with --include-favorites, and spares and counts what is on hold (see legal_hold). It
skips a conversation that a writer has locked; the next run takes it.
You can interrupt it, repeat it and run it several times at once: each conversation is deleted together with all its messages.

exit codes:
  0    all matching conversations are deleted, or this was a complete dry run
  1    failed; the batches before the failed one are deleted
  2    wrong or missing arguments, or not confirmed
  3    stopped by --max-seconds; run the command again for the rest
  130  interrupted (SIGINT) after the current batch
  143  terminated (SIGTERM) after the current batch
"""


class Command(OperatorCommand):
    help = "Delete old, empty, expired or anonymous conversations with their messages, in batches."
    epilog = EPILOG

    def add_arguments(self, parser: ArgumentParser) -> None:
        which = parser.add_argument_group("which conversations")
        which.add_argument(
            "--older-than", type=past_moment, metavar="AGE", help="without a turn for 90d, 12w, 6m or 1y, or since a date (UTC)"
        )
        which.add_argument("--user", type=user, metavar="USER", help="of this user: an id or an e-mail address")
        which.add_argument("--anonymous", action="store_true", help="of anonymous callers")
        which.add_argument(
            "--status", action="append", choices=FINAL_STATUSES, help="whose newest active reply has this status; repeatable"
        )
        which.add_argument("--empty", action="store_true", help="without messages")
        which.add_argument("--expired", action="store_true", help="temporary chats that have expired")
        which.add_argument("--keep-last", type=positive, metavar="N", help="keep the newest N conversations of each user")
        which.add_argument("--archived", action="store_true", help="that their users have archived")
        which.add_argument("--tag", type=tag, metavar="TAG", help="with this tag, in any case")
        which.add_argument("--include-favorites", action="store_true", help="also delete favourites")
        which.add_argument(
            "--by-rules", action="store_true", help="what the retention rules of the admin say, and nothing else"
        )
        how = parser.add_argument_group("how")
        how.add_argument(
            "--archives",
            type=Path,
            metavar="FOLDER",
            help="with --by-rules: where the archive files are that a rule may delete",
        )
        how.add_argument("--dry-run", action="store_true", help="delete nothing; count, and estimate the space")
        how.add_argument(
            "--archive", type=Path, metavar="FILE.jsonl.gz", help="write deleted rows to this file, for import_history"
        )
        how.add_argument(
            "--batch-size",
            type=positive,
            default=LARGEST_BATCH,
            metavar="N",
            help=f"most conversations per batch; batches aim at {BATCH_S} s each (default: {LARGEST_BATCH:,})",
        )
        how.add_argument("--pause", type=seconds, default=0.0, metavar="SECONDS", help="wait this long between two batches")
        how.add_argument("--max-seconds", type=seconds, metavar="SECONDS", help="stop after this many seconds")
        how.add_argument("--yes", action="store_true", help="do not ask for confirmation; required without a terminal")
        how.add_argument("--json", action="store_true", help="print the summary as one JSON object")

    def handle(self, **options: Any) -> None:
        criteria = _criteria(options)
        _refuse_wrong(options, criteria)
        advice = CONTINUED if options["archive"] else ""
        with Interruption(options["max_seconds"]) as interruption, failing_clearly("Cannot write the archive", advice):
            if options["by_rules"]:
                self._apply_rules(options, interruption)
                return
            criteria = replace(criteria, user_id=user_named(options["user"]))
            if not options["dry_run"] and not options["yes"]:
                confirm(lambda: f"{matching(criteria).count():,} conversations will be deleted permanently.", self.stderr)
            try:
                result = self._run(criteria, options, interruption)
            except ArchiveProblem as failure:
                raise CommandError(f"Cannot write the archive: {failure}") from None
            if not options["dry_run"] and (result.is_complete or interruption.is_out_of_time) and not sys.stdin.isatty():
                # For the metrics. A run by hand is no sign that the scheduled ones work.
                note_prune_run(criteria.names, conversations=result.conversations, messages=result.messages)
        self._summarize(result, options)
        if not result.is_complete:
            raise SystemExit(interruption.exit_code)

    def _run(self, criteria: PruneCriteria, options: dict[str, Any], interruption: Interruption) -> PruneResult:
        shared: dict[str, Any] = {"criteria": criteria, "should_stop": interruption}
        wants_bar = self.stderr.isatty() and options["verbosity"] > 0 and not options["dry_run"]
        total = matching(criteria).count() if wants_bar else None
        what = "counted" if options["dry_run"] else "pruned"
        with ProgressReport(f"conversations {what}", self.stderr, total=total, is_silent=not options["verbosity"]) as progress:
            shared["on_batch"] = lambda result: progress.reach(result.conversations)
            if options["dry_run"]:
                return measure(**shared)
            with self._archive(options) as archive:
                pace = {"largest_batch": options["batch_size"], "pause_s": options["pause"]}
                return prune_history(**shared, **pace, archive=archive)

    @contextmanager
    def _archive(self, options: dict[str, Any]) -> Iterator[ArchiveFile | None]:
        if not options["archive"] or options["dry_run"]:
            yield None
            return
        with ArchiveFile(options["archive"]) as archive:
            if archive.had_no_end and options["verbosity"]:
                self.stderr.write("The archive had no end: an earlier run was killed, or the file was cut. It is continued.")
            yield archive

    def _apply_rules(self, options: dict[str, Any], interruption: Interruption) -> None:
        if not options["dry_run"] and not options["yes"]:
            confirm(
                lambda: rules_sentence(apply_rules(is_dry_run=True, archives=options["archives"]), is_dry_run=True), self.stderr
            )
        silent = not options["verbosity"]
        with ProgressReport("rows", self.stderr, total=None, is_silent=silent) as progress:
            try:
                with self._archive(options) as archive:
                    result = apply_rules(
                        is_dry_run=options["dry_run"],
                        archive=archive,
                        archives=options["archives"],
                        largest_batch=options["batch_size"],
                        pause_s=options["pause"],
                        should_stop=interruption,
                        on_batch=lambda so_far: progress.reach(so_far.rows),
                    )
            except ArchiveProblem as failure:
                raise CommandError(f"Cannot write the archive: {failure}") from None
        if not options["dry_run"] and (result.is_complete or interruption.is_out_of_time) and not sys.stdin.isatty():
            note_prune_run("by-rules", conversations=result.conversations, messages=result.messages)
        if options["json"]:
            self.stdout.write(json.dumps({**asdict(result), "is_dry_run": options["dry_run"]}))
        elif options["verbosity"]:
            self.stdout.write(rules_sentence(result, is_dry_run=options["dry_run"]))
        if not result.is_complete:
            raise SystemExit(interruption.exit_code)

    def _summarize(self, result: PruneResult, options: dict[str, Any]) -> None:
        if options["json"]:
            summary = asdict(result)
            if not options["dry_run"]:
                del summary["estimated_bytes"]
            self.stdout.write(json.dumps({**summary, "is_dry_run": options["dry_run"]}))
        elif options["verbosity"]:
            numbers = f"{result.conversations:,} conversations, {result.messages:,} messages"
            if options["dry_run"]:
                numbers = f"Would delete {numbers}: about {filesizeformat(result.estimated_bytes)}"
            else:
                numbers = f"Deleted {numbers}"
            self.stdout.write(numbers + ("." if result.is_complete else "; stopped before the end."))
            if result.on_hold:
                self.stdout.write(f"On hold and spared: {result.on_hold:,} conversations.")


def _refuse_wrong(options: dict[str, Any], criteria: PruneCriteria) -> None:
    """Refuse options that do not go together, and an archive that can't be written, before anything is read."""
    if options["by_rules"] and (criteria.chooses or criteria.include_favorites):
        raise CommandError("--by-rules takes no criteria: the rules say which conversations.", returncode=2)
    if options["archives"] and not (options["by_rules"] and options["archives"].is_dir()):
        raise CommandError("--archives names a folder that exists, and goes with --by-rules.", returncode=2)
    if not criteria.chooses and not options["by_rules"]:
        raise CommandError(
            "Choose which conversations to delete: --older-than, --user, --expired, … (see --help).", returncode=2
        )
    if criteria.user_id and criteria.is_anonymous:
        raise CommandError("--user and --anonymous exclude each other. Use only one of them.", returncode=2)
    if options["archive"]:
        if problem := problem_with_name(options["archive"]):
            raise CommandError(f"Cannot write the archive: {problem}", returncode=2)
        require_writable(options["archive"], "Cannot write the archive")


def _criteria(options: dict[str, Any]) -> PruneCriteria:
    return PruneCriteria(
        older_than=options["older_than"],
        # An id or an address, until the database is asked.
        user_id=options["user"],
        statuses=tuple(options["status"] or ()),
        is_empty=options["empty"],
        is_anonymous=options["anonymous"],
        is_expired=options["expired"],
        keep_last=options["keep_last"],
        is_archived=options["archived"],
        tag=options["tag"] or "",
        include_favorites=options["include_favorites"],
    )
