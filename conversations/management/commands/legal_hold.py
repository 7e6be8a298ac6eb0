"""`manage.py legal_hold`: keep a user or a conversation from every deletion. See services.history.holds."""

import getpass
import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError
from django.core.serializers.json import DjangoJSONEncoder

from conversations.management.arguments import conversation, future_moment, positive, user
from conversations.management.failures import failing_clearly
from conversations.management.hold_refusals import describe
from conversations.management.operator_command import OperatorCommand
from conversations.management.users import user_named
from conversations.models.holds import MOST_HOLD_REASON_CHARACTERS, LegalHold
from conversations.services.history.holds import (
    NothingToHold,
    change_end,
    holds_of_all_time,
    in_force,
    place_hold,
    release_hold,
)

NOT_FOUND = 3
MOST_LISTED = 1000
EPILOG = """
What is on hold is spared by every deletion: by prune_history, prune_records, erase_user, move_history, the trash, the admin and
the users' own deletes, which get 423 on_hold. A hold on a user covers all conversations of the user, also later ones. When
place returns, no deletion that began before goes on. Only staff with the permission see the reason. What a hold was,
and who placed and released it, stays in the list (list --all).

exit codes: 0 done, 1 failed, 2 wrong arguments or an unknown user, 3 there is no such conversation, or no such hold in force.
"""


class Command(OperatorCommand):
    help = "Keep a user or a conversation from every deletion for a legal reason; list and release such holds."
    epilog = EPILOG

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True, metavar="place|list|change|release")
        place = actions.add_parser("place", help="hold a user or a conversation")
        subject = place.add_mutually_exclusive_group(required=True)
        subject.add_argument("--user", type=user, metavar="USER", help="an id or an e-mail address")
        subject.add_argument("--conversation", type=conversation, metavar="ID")
        place.add_argument("--reason", required=True, help=f"for example a file number; at most {MOST_HOLD_REASON_CHARACTERS}")
        place.add_argument("--until", type=future_moment, metavar="DATE", help="the hold ends by itself then (UTC)")
        change = actions.add_parser("change", help="change when a hold ends by itself")
        change.add_argument("hold", type=positive, metavar="NUMBER")
        end = change.add_mutually_exclusive_group(required=True)
        end.add_argument("--until", type=future_moment, metavar="DATE")
        end.add_argument("--without-end", action="store_true", help="only when it is released")
        release = actions.add_parser("release", help="end a hold now")
        release.add_argument("hold", type=positive, metavar="NUMBER")
        listing = actions.add_parser("list", help="list the holds that are in force")
        listing.add_argument("--all", action="store_true", help=f"also those that have ended, the newest {MOST_LISTED:,}")
        for each in (place, change, release, listing):
            each.add_argument("--json", action="store_true", help="print one JSON object")
        for each in (place, release):
            each.add_argument("--by", default="", metavar="NAME", help="who; without it, the name of your account here")

    def handle(self, **options: Any) -> None:
        actions = {"place": self._place, "change": self._change, "release": self._release, "list": self._list}
        with failing_clearly():
            actions[options["action"]](options)

    def _place(self, options: dict[str, Any]) -> None:
        reason = " ".join(options["reason"].split())
        if not 0 < len(reason) <= MOST_HOLD_REASON_CHARACTERS:
            raise CommandError(f"A reason has 1 to {MOST_HOLD_REASON_CHARACTERS} characters.", returncode=2)
        try:
            hold = place_hold(
                reason=reason,
                placed_by=_name(options),
                user_id=user_named(options["user"]),
                conversation_id=options["conversation"],
                ends_at=options["until"],
            )
        except NothingToHold as failure:
            raise CommandError(f"{failure} Nothing was changed.", returncode=NOT_FOUND) from None
        self._say(options, as_json(hold), f"On hold: {describe(hold)}.")

    def _change(self, options: dict[str, Any]) -> None:
        if not change_end(hold_id=options["hold"], ends_at=options["until"]):
            raise CommandError(f"No hold {options['hold']} is in force. Nothing was changed.", returncode=NOT_FOUND)
        hold = LegalHold.objects.get(pk=options["hold"])
        self._say(options, as_json(hold), f"On hold: {describe(hold)}.")

    def _release(self, options: dict[str, Any]) -> None:
        if not release_hold(hold_id=options["hold"], released_by=_name(options)):
            raise CommandError(f"No hold {options['hold']} is in force. Nothing was changed.", returncode=NOT_FOUND)
        self._say(options, as_json(LegalHold.objects.get(pk=options["hold"])), f"Hold {options['hold']} is released.")

    def _list(self, options: dict[str, Any]) -> None:
        found = list((holds_of_all_time() if options["all"] else in_force().order_by("-placed_at", "-id"))[:MOST_LISTED])
        lines = [f"{_state(hold)} {describe(hold)}, by {hold.placed_by}: {hold.reason}" for hold in found]
        self._say(options, {"holds": [as_json(hold) for hold in found]}, "\n".join(lines) or "Nothing is on hold.")

    def _say(self, options: dict[str, Any], summary: dict[str, Any], sentence: str) -> None:
        self.stdout.write(json.dumps(summary, cls=DjangoJSONEncoder) if options["json"] else sentence)


def as_json(hold: LegalHold) -> dict[str, Any]:
    return {
        "hold": hold.pk,
        "user_id": hold.user_id,
        "conversation_id": hold.conversation_id,
        "reason": hold.reason,
        "placed_by": hold.placed_by,
        "placed_at": hold.placed_at,
        "ends_at": hold.ends_at,
        "released_by": hold.released_by,
        "released_at": hold.released_at,
        "is_in_force": hold.is_in_force,
    }


def _state(hold: LegalHold) -> str:
    return "in force:" if hold.is_in_force else "ended:   "


def _name(options: dict[str, Any]) -> str:
    """Return who acts. An account of the machine may have no name."""
    try:
        return str(options["by"] or getpass.getuser())[:150]
    except (OSError, KeyError):
        return "unknown"
