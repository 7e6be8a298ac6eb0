"""`manage.py deliver_webhooks`: deliver webhooks without waiting for a worker. See services.webhooks."""

import json
from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError

from conversations.management.confirmation import confirm
from conversations.management.failures import failing_clearly
from conversations.management.interruption import Interruption
from conversations.management.operator_command import OperatorCommand
from conversations.services.webhooks.keeper import Delivered, WebhookKeeper, deliver_due
from conversations.services.webhooks.outbox import Outbox, discard_all, try_again

EPILOG = """
Every worker of a service with WEBHOOK_URL delivers webhooks as well; this command is for what waits while no worker runs, for
tests of a receiver, and for a host of its own (--loop). Any number of workers and commands may run at once. Events that fail
are tried again later: see "Webhooks" in docs/operating.md.

exit codes: 0 done, 1 failed, 2 wrong arguments, no WEBHOOK_URL or not confirmed, 4 some events could not be delivered,
130 and 143 interrupted.
"""
SOME_FAILED = 4


class Command(OperatorCommand):
    help = "Deliver the webhooks that are due."
    epilog = EPILOG

    def add_arguments(self, parser: ArgumentParser) -> None:
        which = parser.add_mutually_exclusive_group()
        which.add_argument("--loop", action="store_true", help="go on until SIGTERM")
        which.add_argument("--discard", action="store_true", help="delete all events that wait, and note no more of them")
        parser.add_argument("--retry-dead", action="store_true", help="also try those again that were given up")
        parser.add_argument("--json", action="store_true", help="print the summary as one JSON object")
        parser.add_argument("--yes", action="store_true", help="with --discard: do not ask for confirmation")

    def handle(self, **options: Any) -> None:
        if options["discard"]:
            self._discard(options)
            return
        if not settings.WEBHOOK_URL:
            raise CommandError("There is no receiver: set WEBHOOK_URL.", returncode=2)
        outbox = Outbox()
        total = Delivered()
        with Interruption() as interruption, failing_clearly():
            outbox.keep()
            if options["retry_dead"]:
                try_again()
            if options["loop"]:
                WebhookKeeper(outbox).run(interruption, total)
            else:
                while not interruption() and (result := deliver_due(outbox)).all:
                    total.add(result)
            state = outbox.state()
        figures = {**asdict(total), "waiting": state.waiting, "given_up": state.dead}
        if options["json"]:
            self.stdout.write(json.dumps(figures))
        elif options["verbosity"]:
            self.stdout.write(
                f"Delivered {total.delivered:,}, failed {total.failed:,}, gave up {total.dead:,}; "
                f"{state.waiting:,} wait, {state.dead:,} were given up."
            )
        if not options["loop"]:
            raise SystemExit(interruption.exit_code or (SOME_FAILED if total.failed or total.dead else 0))

    def _discard(self, options: dict[str, Any]) -> None:
        if not options["yes"]:
            confirm(lambda: "All webhooks that wait will be deleted.", self.stderr)
        with failing_clearly():
            count = discard_all()
        self.stdout.write(json.dumps({"discarded": count}) if options["json"] else f"Discarded {count:,} events.")
