"""The base class of commands that walk through the tables and can be interrupted and run again at any time."""

import json
from abc import abstractmethod
from argparse import ArgumentParser
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

from conversations.management.arguments import seconds
from conversations.management.failures import failing_clearly
from conversations.management.interruption import Interruption
from conversations.management.operator_command import OperatorCommand
from conversations.management.progress import ProgressReport


class HasAnEnd(Protocol):
    """A result that says whether the work reached its end."""

    @property
    def is_complete(self) -> bool: ...


Result = TypeVar("Result", bound=HasAnEnd)


class RepeatableCommand(OperatorCommand, Generic[Result]):
    """Run the work until it is done, interrupted or out of time, report its progress and print a summary."""

    # What the progress counts.
    unit: str
    # What `--pause` waits between, in the singular.
    batch: str

    def add_arguments(self, parser: ArgumentParser) -> None:
        wait = f"wait this long between two {self.batch}"
        parser.add_argument("--pause", type=seconds, default=0.0, metavar="SECONDS", help=wait)
        parser.add_argument("--max-seconds", type=seconds, metavar="SECONDS", help="stop after this many seconds")
        parser.add_argument("--json", action="store_true", help="print the summary as one JSON object")

    def handle(self, **options: Any) -> None:
        silent = not options["verbosity"]
        with Interruption(options["max_seconds"]) as interruption:
            with failing_clearly(), ProgressReport(self.unit, self.stderr, total=None, is_silent=silent) as progress:
                result = self.work(options, should_stop=interruption, reach=progress.reach)
        if options["json"]:
            self.stdout.write(json.dumps(self.summary(result)))
        elif options["verbosity"]:
            self.stdout.write(self.sentence(result))
        if not result.is_complete:
            raise SystemExit(interruption.exit_code)

    @abstractmethod
    def work(self, options: dict[str, Any], *, should_stop: Callable[[], bool], reach: Callable[[int], None]) -> Result:
        """Do the work. Ask `should_stop` between two batches, and tell `reach` how many units are done in total."""

    @abstractmethod
    def summary(self, result: Result) -> dict[str, Any]:
        """Return what `--json` prints."""

    @abstractmethod
    def sentence(self, result: Result) -> str:
        """Return what is printed without `--json`."""
