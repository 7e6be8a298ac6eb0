"""`manage.py erase_user`: erase everything about one user. See services.history.erase."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any, cast
from uuid import UUID

from django.core.management.base import CommandError
from redis.exceptions import RedisError

from conversations.ids import parse_id
from conversations.management import arguments
from conversations.management.confirmation import confirm
from conversations.management.failures import failing_clearly
from conversations.management.hold_refusals import refuse_user_on_hold, saying_what_is_held
from conversations.management.interruption import Interruption
from conversations.management.operator_command import OperatorCommand
from conversations.management.progress import ProgressReport
from conversations.management.receipts import print_receipt, receipt_file
from conversations.management.users import user_named
from conversations.services.history.erase import (
    Receipt,
    count_of_user,
    erase_user,
    is_erased_user,
)
from conversations.services.history.user_tables import is_known_user

EPILOG = """
Close the account at the auth service first: a user who can still log in can create new conversations. The command also erases
favourites, and it stops running replies. The receipt contains the user's id and the number of erased rows, but none of their
content. A keyed hash of the id stays, so that import_history leaves the user out and a second run says "already erased".

exit codes: 0 everything is erased, now or by an earlier run, 1 failed, 2 wrong arguments or not confirmed, 3 nothing is
stored about this user, 4 the user or one of their conversations is on hold (see legal_hold), 130 and 143 interrupted. After 1,
130 and 143, run the command again.
"""


UNKNOWN = 3


class Command(OperatorCommand):
    help = "Erase a user's conversations, messages, directory entry and remembered tokens; print a receipt."
    epilog = EPILOG

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("user", type=arguments.user, metavar="USER", help="the user's id or e-mail address")
        parser.add_argument("--dry-run", action="store_true", help="count the rows, erase nothing")
        parser.add_argument("--receipt", type=Path, metavar="FILE.json", help="also write the receipt to this file")
        parser.add_argument("--json", action="store_true", help="the receipt, which is JSON without this too, on one line")
        parser.add_argument("--yes", action="store_true", help="do not ask for confirmation; required without a terminal")

    def handle(self, **options: Any) -> None:
        with Interruption() as interruption, failing_clearly(), receipt_file(options["receipt"]) as file:
            known = parse_id(options["user"])
            if known and is_erased_user(user_id=known) and not is_known_user(user_id=known):
                self.stderr.write(f"The user {known} is already erased. Nothing was changed.")
                return
            options["user"] = user = cast(UUID, user_named(options["user"], returncode=UNKNOWN))
            refuse_user_on_hold(user)
            try:
                if options["dry_run"]:
                    receipt = count_of_user(user_id=user)
                else:
                    if not options["yes"]:
                        confirm(lambda: _consequence(count_of_user(user_id=user)), self.stderr)
                    receipt = self._erase(options, interruption)
            except RedisError as failure:
                raise CommandError(f"The shared cache failed ({type(failure).__name__}). Run the command again.") from None
            print_receipt(receipt.as_json(), options, self.stdout, file)
        if not options["dry_run"] and not receipt.is_complete:
            raise SystemExit(interruption.exit_code or 1)

    def _erase(self, options: dict[str, Any], interruption: Interruption) -> Receipt:
        silent = not options["verbosity"]
        with (
            saying_what_is_held(),
            ProgressReport("conversations erased", self.stderr, total=None, is_silent=silent) as progress,
        ):
            return erase_user(
                user_id=options["user"],
                should_stop=interruption,
                on_batch=lambda receipt: progress.reach(receipt.conversations),
            )


def _consequence(receipt: Receipt) -> str:
    return f"{receipt.conversations:,} conversations with {receipt.messages:,} messages will be erased permanently."
