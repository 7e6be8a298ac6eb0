"""`manage.py count_usage`: add the usage that is missing from usage_totals. See services.history.usage_recount."""

from argparse import ArgumentParser
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from conversations.management.arguments import past_moment
from conversations.management.repeatable_command import RepeatableCommand
from conversations.services.history.usage_recount import FIRST_DAY, CountResult, count_usage

EPILOG = """
The service counts usage in the table usage_totals as it runs, so deleting messages does not reduce it. `migrate` counts older
messages once. Run this command after the last worker of an older version, or of the predecessor, has ended: it adds what they
wrote after `migrate`. It also adds messages that were imported from another database. You can interrupt and repeat it: it
counts nothing twice.

exit codes: 0 done, 1 failed, 2 wrong arguments, 3 stopped by --max-seconds, 130 and 143 interrupted. After 1, 3, 130 and 143,
run the command again; --since continues at a given day.
"""


class Command(RepeatableCommand[CountResult]):
    help = "Add usage that is in the messages but not yet in the daily totals of users."
    epilog = EPILOG
    unit = "days counted"
    batch = "days"

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--since", type=past_moment, metavar="DATE", help="first day (UTC), as a date or a period such as 90d"
        )
        super().add_arguments(parser)

    def work(self, options: dict[str, Any], *, should_stop: Callable[[], bool], reach: Callable[[int], None]) -> CountResult:
        return count_usage(
            since=options["since"].date() if options["since"] else FIRST_DAY,
            pause_s=options["pause"],
            should_stop=should_stop,
            on_day=lambda so_far: reach(so_far.days),
        )

    def summary(self, result: CountResult) -> dict[str, Any]:
        return {**asdict(result), "next_day": _next_day(result)}

    def sentence(self, result: CountResult) -> str:
        end = "." if result.is_complete else f"; continue with --since {_next_day(result)}."
        return f"Counted {result.days:,} days, changed {result.changed:,} totals{end}"


def _next_day(result: CountResult) -> str | None:
    return None if result.next_day is None else result.next_day.isoformat()
