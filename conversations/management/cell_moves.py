"""The options of `move_history` that move a user to another cell, and back."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any, cast
from uuid import UUID

from django.core.management.base import CommandError, OutputWrapper

from conversations.management import arguments
from conversations.management.confirmation import confirm
from conversations.management.failures import failing_clearly
from conversations.management.hold_refusals import refuse_user_on_hold, saying_what_is_held
from conversations.management.interruption import Interruption
from conversations.management.receipts import print_receipt, receipt_file
from conversations.management.users import user_named
from conversations.services.history.cells import (
    MoveProblem,
    MoveResult,
    close_user,
    erase_moved,
    note_archived,
    read_archive,
    reopen_user,
    write_archive,
)
from conversations.services.history.exports.export import STANDARD_OUTPUT, export_file
from conversations.services.history.files.reading import ImportProblem, import_file

UNKNOWN, WRONG = 3, 2
ACTIONS = ("to_cell", "from_cell", "erase_moved", "give_up")


def add_cell_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--to-cell", metavar="FILE", help="refuse the user's writes and write everything to this new file")
    parser.add_argument("--from-cell", metavar="FILE", help="restore such a file here, and compare counts and checksums")
    parser.add_argument("--erase-moved", action="store_true", help="delete here what another cell has restored")
    parser.add_argument("--give-up", action="store_true", help="accept the user's writes here again")
    wait: dict[str, Any] = {"type": arguments.seconds, "default": 60.0, "metavar": "SECONDS"}
    parser.add_argument("--wait", help="with --to-cell: how long running replies may go on before they are stopped", **wait)


def move_between_cells(options: dict[str, Any], stdout: OutputWrapper, stderr: OutputWrapper) -> bool:
    """Do what the options say about another cell. Return whether they say anything."""
    chosen = [name for name in ACTIONS if options[name]]
    if not chosen:
        return False
    if len(chosen) > 1 or options["to_user"] or (chosen == ["from_cell"]) == bool(options["from_user"]) or options["dry_run"]:
        raise CommandError(
            "Give --from USER with one of --to-cell, --erase-moved and --give-up, or --from-cell alone. Nothing was changed.",
            returncode=WRONG,
        )
    work = failing_clearly("Cannot read or write the archive")
    with Interruption() as interruption, work, receipt_file(options["receipt"]) as file:
        try:
            result = _act(chosen[0], options, interruption, stderr)
        except (MoveProblem, ImportProblem) as problem:
            raise CommandError(f"{str(problem)[0].upper()}{str(problem)[1:]}.") from None
        print_receipt(result.as_json(), options, stdout, file)
    if result.differing:
        raise CommandError(f"These tables differ from the archive: {', '.join(result.differing)}. Do not tell the proxy.")
    if not result.is_complete:
        raise SystemExit(interruption.exit_code or 1)
    return True


def _act(action: str, options: dict[str, Any], interruption: Interruption, stderr: OutputWrapper) -> MoveResult:
    if action == "from_cell":
        with import_file(options["from_cell"]) as source:
            return read_archive(source, should_stop=interruption)
    user_id = cast(UUID, user_named(options["from_user"], may_be_unknown=action != "to_cell", returncode=UNKNOWN))
    if action == "give_up":
        return MoveResult(user_id, is_complete=reopen_user(user_id))
    refuse_user_on_hold(user_id)
    if action == "erase_moved":
        if not options["yes"]:
            confirm(lambda: "What the other cell has restored will be deleted here.", stderr)
        with saying_what_is_held():
            return erase_moved(user_id, should_stop=interruption)
    return _write(user_id, options, interruption)


def _write(user_id: UUID, options: dict[str, Any], interruption: Interruption) -> MoveResult:
    path = options["to_cell"]
    if path == STANDARD_OUTPUT or Path(path).exists():
        raise CommandError("Name a new file for the archive. Nothing was changed.", returncode=WRONG)
    close_user(user_id, wait_s=options["wait"], should_stop=interruption)
    with export_file(path) as target:
        result = write_archive(user_id, target, should_stop=interruption)
        if not result.is_complete:
            raise MoveProblem("interrupted; run the command again, or give the move up")
    note_archived(user_id)
    return result
