"""`manage.py user_report`: what an operator must know of one user. See services.staff.reports."""

import json
from argparse import ArgumentParser
from collections.abc import Iterator
from datetime import datetime
from typing import Any, cast
from uuid import UUID

from django.core.serializers.json import DjangoJSONEncoder

from conversations.ids import parse_id
from conversations.management import arguments
from conversations.management.failures import failing_clearly
from conversations.management.operator_command import OperatorCommand
from conversations.management.users import user_named
from conversations.services.history.erase import is_erased_user
from conversations.services.staff.reports import user_report

UNKNOWN = 3
EPILOG = """
Entry in the directory, numbers of conversations and messages, usage, quotas, holds, retention rule, how often staff looked, and
how many rows each table has. Nothing that the user wrote, and no reason of a hold. Times are in UTC. Nothing is changed, and
staff do not see that it was run: give the command only to those who may know this.

exit codes: 0 done (also of an erased user), 1 failed, 2 wrong arguments, 3 nothing is stored about this user.
"""


class Command(OperatorCommand):
    help = "Print what is stored and in force about one user, without any content."
    epilog = EPILOG

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("user", type=arguments.user, metavar="USER", help="the user's id or e-mail address")
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, **options: Any) -> None:
        with failing_clearly():
            known = parse_id(options["user"])
            if not (known and is_erased_user(user_id=known)):
                known = cast(UUID, user_named(options["user"], returncode=UNKNOWN))
            report = user_report(user_id=known)
        if options["json"]:
            self.stdout.write(json.dumps(report, cls=DjangoJSONEncoder))
        else:
            for name, value in _lines(report):
                self.stdout.write(f"{name + ':':<34} {value}")


def _lines(report: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in report.items():
        if isinstance(value, dict):
            yield from _lines(value, f"{prefix}{name}.")
        elif isinstance(value, list):
            yield f"{prefix}{name}", str(len(value))
            for number, one in enumerate(value, 1):
                yield from _lines(one, f"{prefix}{name}.{number}.")
        else:
            yield f"{prefix}{name}", _text(value)


def _text(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    # Names and addresses come from the auth service, and may hold anything.
    return f"{value:,}" if isinstance(value, int) else "".join(c if c.isprintable() else "?" for c in str(value))
