"""`manage.py move_history`: give everything of one user to another, or to another cell. See services.history.move and cells."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import psycopg
from django.core.management.base import CommandError
from django.db import IntegrityError

from conversations.management import arguments
from conversations.management.cell_moves import add_cell_arguments, move_between_cells
from conversations.management.confirmation import confirm
from conversations.management.failures import failing_clearly
from conversations.management.hold_refusals import refuse_user_on_hold, saying_what_is_held
from conversations.management.interruption import Interruption
from conversations.management.operator_command import OperatorCommand
from conversations.management.progress import ProgressReport
from conversations.management.receipts import print_receipt, receipt_file
from conversations.management.users import user_named
from conversations.services.history.erase import is_erased_user
from conversations.services.history.move import BATCH_SIZE, MoveReceipt, count_to_move, move_history

UNKNOWN = 3
EPILOG = """
Close the first account at the auth service before: a user who can still log in can create new conversations. The new owner may
be a user who has never been here. A running reply goes on. If both have a session of one name, the moved one is named NAME.2.
Usage is added up. Limits (user_quotas) and own instructions of the new owner stay; the first user's are then deleted.

You can interrupt the command and run it again. The receipt contains both ids and the numbers of rows. The first user's
entry in the directory of users stays, and so do the records of which staff read what; erase_user deletes the former.

To another cell, which is another complete installation: --from USER --to-cell FILE here, --from-cell FILE there, then tell the
proxy, and --from USER --erase-moved here. From the first to the proxy, writes of the user get 503. --give-up undoes the first.
See "Cells" in docs/operating.md.

exit codes: 0 everything is moved, 1 failed, 2 wrong arguments or not confirmed, 3 nothing is stored about the first user,
4 the first user or one of their conversations is on hold (see legal_hold), 130 and 143 interrupted. After 1, 130 and 143, run
the command again.
"""


class Command(OperatorCommand):
    help = "Give a user's conversations, usage, limits and instructions to another user, or to another cell; print a receipt."
    epilog = EPILOG

    def add_arguments(self, parser: ArgumentParser) -> None:
        of_user: dict[str, Any] = {"type": arguments.user, "metavar": "USER"}
        size: dict[str, Any] = {"type": arguments.positive, "default": BATCH_SIZE, "metavar": "N"}
        parser.add_argument("--from", dest="from_user", help="whose it is: an id or an e-mail address", **of_user)
        parser.add_argument("--to", dest="to_user", help="the new owner: an id or a known e-mail address", **of_user)
        add_cell_arguments(parser)
        parser.add_argument("--dry-run", action="store_true", help="count the rows, move nothing")
        parser.add_argument("--receipt", type=Path, metavar="FILE.json", help="also write the receipt to this file")
        parser.add_argument("--batch-size", help="conversations per batch", **size)
        parser.add_argument("--json", action="store_true", help="the receipt, which is JSON without this too, on one line")
        parser.add_argument("--yes", action="store_true", help="do not ask for confirmation; required without a terminal")

    def handle(self, **options: Any) -> None:
        if move_between_cells(options, self.stdout, self.stderr):
            return
        if not (options["from_user"] and options["to_user"]):
            raise CommandError("Give --from and --to, or what to do with another cell.", returncode=2)
        with Interruption() as interruption, failing_clearly(), receipt_file(options["receipt"]) as file:
            users = _users(options)
            refuse_user_on_hold(users["from_user"])
            if options["dry_run"]:
                receipt = count_to_move(**users)
            else:
                if not options["yes"]:
                    confirm(lambda: _consequence(count_to_move(**users)), self.stderr)
                receipt = self._move(users, options, interruption)
            print_receipt(receipt.as_json(), options, self.stdout, file)
        if not options["dry_run"] and not receipt.is_complete:
            raise SystemExit(interruption.exit_code or 1)

    def _move(self, users: dict[str, UUID], options: dict[str, Any], interruption: Interruption) -> MoveReceipt:
        silent = not options["verbosity"]
        with (
            saying_what_is_held(),
            ProgressReport("conversations moved", self.stderr, total=None, is_silent=silent) as progress,
        ):
            try:
                return move_history(
                    **users,
                    batch_size=options["batch_size"],
                    should_stop=interruption,
                    on_batch=lambda receipt: progress.reach(receipt.conversations),
                )
            except IntegrityError as failure:
                if isinstance(failure.__cause__, psycopg.errors.ForeignKeyViolation):
                    raise CommandError("The new owner is missing from the predecessor's table of users.") from None
                raise


def _users(options: dict[str, Any]) -> dict[str, UUID]:
    to_user = cast(UUID, user_named(options["to_user"], may_be_unknown=True))
    from_user = cast(UUID, user_named(options["from_user"], returncode=UNKNOWN))
    if from_user == to_user:
        raise CommandError("--from and --to are the same user. Nothing was changed.", returncode=2)
    if is_erased_user(user_id=to_user):
        raise CommandError("The new owner was erased. Nothing was changed.", returncode=2)
    return {"from_user": from_user, "to_user": to_user}


def _consequence(receipt: MoveReceipt) -> str:
    moved = f"{receipt.conversations:,} conversations with {receipt.messages:,} messages"
    return f"{moved} of the user {receipt.from_user} will belong to {receipt.to_user}."
