"""`manage.py seed_demo`: fill a database with plausible conversations. See services.demo.seed."""

import json
import time
from argparse import ArgumentParser
from datetime import UTC, datetime
from typing import Any

from django.core.management.base import CommandError
from django.db import IntegrityError

from conversations.management.arguments import count, past_moment, positive
from conversations.management.failures import failing_clearly
from conversations.management.operator_command import OperatorCommand
from conversations.management.progress import ProgressReport
from conversations.models import Conversation
from conversations.services.demo.seed import SeedPlan, seed_demo
from conversations.services.history.usage_recount import count_usage


class Command(OperatorCommand):
    help = "Fill an empty database with demo conversations. The same --seed, numbers and --until give the same rows."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--users", type=positive, default=20, metavar="N", help="number of users (default: 20)")
        parser.add_argument("--conversations", type=count, default=400, metavar="N", help="total number (default: 400)")
        parser.add_argument(
            "--messages", type=count, default=4000, metavar="N", help="total number, rounded down to pairs (default: 4000)"
        )
        parser.add_argument("--seed", type=int, default=1, metavar="N")
        parser.add_argument(
            "--until", type=past_moment, metavar="WHEN", help="end of the year that the rows fill (default: today)"
        )
        parser.add_argument("--json", action="store_true", help="print the summary as one JSON object")
        parser.add_argument("--add", action="store_true", help="add rows even if there are conversations already")

    def handle(self, **options: Any) -> None:
        with failing_clearly():
            self._fill(options)

    def _fill(self, options: dict[str, Any]) -> None:
        if not options["add"] and Conversation.objects.exists():
            raise CommandError("The database already contains conversations. Use --add to add more.", returncode=2)
        midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        numbers = {name: options[name] for name in ("users", "conversations", "messages", "seed")}
        plan = SeedPlan(**numbers, until=options["until"] or midnight)
        total = plan.users + plan.conversations + plan.messages
        started_at = time.monotonic()
        try:
            with ProgressReport("rows", self.stderr, total=total, is_silent=not options["verbosity"]) as progress:
                seed_demo(plan=plan, on_rows=progress.advance)
            count_usage()
        except IntegrityError:
            raise CommandError("Rows of this seed exist already. Use another --seed.") from None
        if options["json"]:
            self.stdout.write(json.dumps({**numbers, "rows": total}))
        elif options["verbosity"]:
            self.stdout.write(f"{total:,} rows in {time.monotonic() - started_at:.1f} s.")
