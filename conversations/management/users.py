"""The user that a command is for."""

from uuid import UUID

from django.core.management.base import CommandError

from conversations.ids import parse_id
from conversations.services.staff.references import UnknownUser, find_user

WRONG_ARGUMENTS = 2


def user_named(reference: str | None, *, may_be_unknown: bool = False, returncode: int = WRONG_ARGUMENTS) -> UUID | None:
    """Return the id of a user, given the id or the e-mail address. None stays None.

    A user of whom nothing is stored is refused: most likely a typing error. With `may_be_unknown`, any id is taken.
    """
    if reference is None:
        return None
    if may_be_unknown and (user_id := parse_id(reference)):
        return user_id
    try:
        return find_user(reference)
    except UnknownUser as failure:
        raise CommandError(f"{failure} Nothing was changed.", returncode=returncode) from None
