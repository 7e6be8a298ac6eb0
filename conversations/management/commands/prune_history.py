"""`manage.py prune_history`: delete conversations that are no longer wanted. See services.history.prune."""

import json
from argparse import ArgumentParser
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError
from django.template.defaultfilters import filesizeformat

from conversations.management.arguments import HelpAsWritten, past_moment, positive, seconds, user_id
from conversations.management.confirmation import confirm
from conversations.management.interruption import Interruption
from conversations.management.progress import ProgressReport
from conversations.models import Status
from conversations.services.history.archive import Archive, ArchiveProblem
from conversations.services.history.prune import (
    BATCH_S,
    LARGEST_BATCH,
    PruneCriteria,
    PruneResult,
    matching,
    measure,
    prune_history,
)

FINAL_STATUSES = [status for status in Status.values if status != Status.STREAMING]
EPILOG = """
The criteria narrow each other; at least one is needed. Conversations with a running reply are never touched, favourites only
with --include-favorites. The command can be interrupted, repeated and run several times at once: a conversation is either
there with all its messages or gone with all of them.

exit codes:
  0    all that matched is deleted (or there was nothing, or it was a dry run)
  1    it failed; the batch that failed is still there, those before it are deleted
  2    refused: wrong or missing arguments, or not confirmed
  3    --max-seconds was up: run it again for the rest
  130  interrupted (SIGINT), 143: terminated (SIGTERM), in both cases after the batch that was running
"""


class Command(BaseCommand):
    help = "Delete old, empty, expired or anonymous conversations with their messages, in batches."
    # They would load every URL and view; cron jobs start often.
    requires_system_checks = ()

    def create_parser(self, prog_name: str, subcommand: str, **options: Any) -> Any:
        return super().create_parser(prog_name, subcommand, epilog=EPILOG, formatter_class=HelpAsWritten, **options)

    def add_arguments(self, parser: ArgumentParser) -> None:
        which = parser.add_argument_group("which conversations")
        which.add_argument(
            "--older-than", type=past_moment, metavar="AGE", help="without a turn for 90d, 12w, 6m, 1y, or since a date (UTC)"
        )
        which.add_argument("--user", type=user_id, metavar="UUID", help="of this user")
        which.add_argument("--anonymous", action="store_true", help="of anonymous callers")
        which.add_argument(
            "--status", action="append", choices=FINAL_STATUSES, help="whose newest reply that counts ended so; repeatable"
        )
        which.add_argument("--empty", action="store_true", help="without any message")
        which.add_argument("--expired", action="store_true", help="temporary chats whose time is over")
        which.add_argument("--keep-last", type=positive, metavar="N", help="but not the newest N of each user")
        which.add_argument("--include-favorites", action="store_true", help="favourites too")
        how = parser.add_argument_group("how")
        how.add_argument("--dry-run", action="store_true", help="only count, and estimate the space")
        how.add_argument("--archive", type=Path, metavar="FILE.jsonl.gz", help="keep what is deleted; import_history reads it")
        how.add_argument(
            "--batch-size",
            type=positive,
            default=LARGEST_BATCH,
            metavar="N",
            help=f"conversations at a time, at most; fewer where they take over {BATCH_S} s (default: {LARGEST_BATCH:,})",
        )
        how.add_argument("--pause", type=seconds, default=0.0, metavar="SECONDS", help="between two batches")
        how.add_argument("--max-seconds", type=seconds, metavar="SECONDS", help="end after so long")
        how.add_argument("--yes", action="store_true", help="don't ask; needed where nobody can be asked")
        how.add_argument("--json", action="store_true", help="the summary as one JSON object")

    def handle(self, **options: Any) -> None:
        criteria = _criteria(options)
        if not criteria.chooses:
            raise CommandError("Say which conversations: --older-than, --user, --expired, … (see --help)", returncode=2)
        if criteria.user_id and criteria.is_anonymous:
            raise CommandError("A conversation is either a user's or anonymous: give --user or --anonymous", returncode=2)
        with Interruption(options["max_seconds"]) as interruption:
            if not options["dry_run"] and not options["yes"]:
                confirm(lambda: f"{matching(criteria).count():,} conversations will be deleted for good.", self.stderr)
            try:
                result = self._run(criteria, options, interruption)
            except (ArchiveProblem, OSError) as failure:
                raise CommandError(f"The archive can't be written: {failure}") from None
            except DatabaseError as failure:
                # Its text may quote a row.
                raise CommandError(f"The database failed ({type(failure).__name__}); run it again") from failure
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
            with Archive(options["archive"]) if options["archive"] else nullcontext() as archive:
                pace = {"largest_batch": options["batch_size"], "pause_s": options["pause"]}
                return prune_history(**shared, **pace, archive=archive)

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


def _criteria(options: dict[str, Any]) -> PruneCriteria:
    return PruneCriteria(
        older_than=options["older_than"],
        user_id=options["user"],
        statuses=tuple(options["status"] or ()),
        is_empty=options["empty"],
        is_anonymous=options["anonymous"],
        is_expired=options["expired"],
        keep_last=options["keep_last"],
        include_favorites=options["include_favorites"],
    )
