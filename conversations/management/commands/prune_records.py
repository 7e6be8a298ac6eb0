"""`manage.py prune_records`: delete old records about users. See services.history.pruning.records."""

from argparse import ArgumentParser
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from django.core.management.base import CommandError

from conversations.management.arguments import past_moment
from conversations.management.confirmation import confirm
from conversations.management.repeatable_command import RepeatableCommand
from conversations.services.changes.reading import KEPT_FOR
from conversations.services.history.pruning.records import RecordsResult, prune_records
from conversations.services.usage.totals import MOST_DAYS

EPILOG = """
Give at least one option; a table without its option keeps all its rows. Ages are 90d, 12w, 6m or 1y, or a date (midnight UTC).
Usage totals of the last 93 days stay in any case: /api/usage and monthly quotas read them. A user with conversations stays in
the directory, however long ago they were seen. Changes of the last 30 days and each user's newest one stay: cursors of
/api/changes need them. Tombstones of erased users are never deleted. You can interrupt and repeat the command.

exit codes: 0 done, 1 failed, 2 wrong arguments or not confirmed, 3 stopped by --max-seconds, 130 and 143 interrupted. After 1,
3, 130 and 143, run the command again.
"""
LEAST_USAGE_AGE = timedelta(days=MOST_DAYS + 1)


class Command(RepeatableCommand[RecordsResult]):
    help = "Delete old usage totals, records of what staff read, changes, and users who have not been seen for long."
    epilog = EPILOG
    unit = "rows deleted"
    batch = "batches"

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--usage-older-than", type=past_moment, metavar="AGE", help="usage totals of users")
        parser.add_argument("--access-older-than", type=past_moment, metavar="AGE", help="records of what staff read")
        parser.add_argument(
            "--users-unseen-for", type=past_moment, metavar="AGE", help="users in the directory who have no conversations"
        )
        parser.add_argument("--changes-older-than", type=past_moment, metavar="AGE", help="what /api/changes tells")
        parser.add_argument("--yes", action="store_true", help="do not ask for confirmation; required without a terminal")
        super().add_arguments(parser)

    def handle(self, **options: Any) -> None:
        usage, changes = options["usage_older_than"], options["changes_older_than"]
        if not (usage or changes or options["access_older_than"] or options["users_unseen_for"]):
            raise CommandError(
                "Choose what to delete: --usage-older-than, --access-older-than, --users-unseen-for or --changes-older-than.",
                returncode=2,
            )
        if usage and usage > datetime.now(UTC) - LEAST_USAGE_AGE:
            raise CommandError(
                f"/api/usage and quotas need the usage of the last {LEAST_USAGE_AGE.days} days. Choose an older time.",
                returncode=2,
            )
        if changes and changes > datetime.now(UTC) - KEPT_FOR:
            raise CommandError(
                f"Cursors of /api/changes need what changed in the last {KEPT_FOR.days} days. Choose an older time.",
                returncode=2,
            )
        if not options["yes"]:
            confirm(lambda: "Old records will be deleted permanently.", self.stderr)
        super().handle(**options)

    def work(self, options: dict[str, Any], *, should_stop: Callable[[], bool], reach: Callable[[int], None]) -> RecordsResult:
        return prune_records(
            usage_before=options["usage_older_than"],
            access_before=options["access_older_than"],
            users_unseen_since=options["users_unseen_for"],
            changes_before=options["changes_older_than"],
            pause_s=options["pause"],
            should_stop=should_stop,
            on_batch=lambda so_far: reach(so_far.rows),
        )

    def summary(self, result: RecordsResult) -> dict[str, Any]:
        return asdict(result)

    def sentence(self, result: RecordsResult) -> str:
        end = "." if result.is_complete else "; stopped before the end."
        return (
            f"Deleted {result.usage_totals:,} usage totals, {result.staff_access:,} access records, "
            f"{result.changes:,} changes and {result.chat_users:,} users{end}"
            + (f" On hold and spared: {result.on_hold:,} rows." if result.on_hold else "")
        )
