"""`manage.py correct_activity`: correct `updated_at` after a takeover. See services.history.activity."""

from argparse import ArgumentParser
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from conversations.management.arguments import positive
from conversations.management.repeatable_command import RepeatableCommand
from conversations.services.history.activity import CorrectionResult, correct_activity
from conversations.services.history.id_batches import DEFAULT_BATCH_SIZE

EPILOG = """
The predecessor does not change conversations.updated_at when it saves a message. Since migration 0010 a trigger does so for new
messages. This command corrects the conversations with older messages. Run it once after `migrate`. You can interrupt and repeat
it: conversations with a correct time are only read, and conversations that a writer has locked are skipped.

exit codes: 0 done, 1 failed, 2 wrong arguments, 3 stopped by --max-seconds, 130 and 143 interrupted. After 1, 3, 130 and 143,
run the command again.
"""


class Command(RepeatableCommand[CorrectionResult]):
    help = "Set updated_at to the time of the newest message where it is older than that message."
    epilog = EPILOG
    unit = "conversations examined"
    batch = "batches"

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--batch-size", type=positive, default=DEFAULT_BATCH_SIZE, metavar="N", help="conversations per batch"
        )
        super().add_arguments(parser)

    def work(
        self, options: dict[str, Any], *, should_stop: Callable[[], bool], reach: Callable[[int], None]
    ) -> CorrectionResult:
        return correct_activity(
            batch_size=options["batch_size"],
            pause_s=options["pause"],
            should_stop=should_stop,
            on_batch=lambda so_far: reach(so_far.examined),
        )

    def summary(self, result: CorrectionResult) -> dict[str, Any]:
        return asdict(result)

    def sentence(self, result: CorrectionResult) -> str:
        end = "." if result.is_complete else "; stopped before the end."
        return f"Examined {result.examined:,} conversations, corrected {result.corrected:,}{end}"
