"""`manage.py check_setup`: say whether an installation has what it needs. See management.setup_checks."""

import json
import logging
from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from conversations.management.operator_command import OperatorCommand
from conversations.management.setup_checks import run_checks

EPILOG = """
One line for each check: ok, warning or failed, and what was found. Nothing is changed, except for a key in the shared cache
that is deleted again.

exit codes: 0 nothing failed (there may be warnings), 1 something failed.
"""


class Command(OperatorCommand):
    help = "Check the database, its rights and settings, clock, cache, and the auth and inference services."
    epilog = EPILOG

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="print the results as one JSON object")

    def handle(self, **options: Any) -> None:
        # Each line says what failed. The log would say it again in between.
        logging.disable(logging.ERROR)
        try:
            results = run_checks()
        finally:
            logging.disable(logging.NOTSET)
        is_ok = all(result.state != "failed" for result in results)
        if options["json"]:
            self.stdout.write(json.dumps({"is_ok": is_ok, "checks": [asdict(result) for result in results]}))
        else:
            for result in results:
                self.stdout.write(f"{result.state:<8} {result.name}: {result.detail}")
        if not is_ok:
            raise SystemExit(1)
