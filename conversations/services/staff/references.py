"""Find a user by what operators know of them: an id or an e-mail address."""

from uuid import UUID

from conversations.ids import parse_id
from conversations.models import ChatUser
from conversations.services.history.user_tables import is_known_user

MOST_NAMED = 5


class UnknownUser(Exception):
    """No user, or several, have this address or id. The text says so without repeating the address."""


def find_user(reference: str) -> UUID:
    """Return a user's id, given the id or the e-mail address in any case. Raises `UnknownUser`."""
    if user_id := parse_id(reference):
        if not is_known_user(user_id=user_id):
            raise UnknownUser(f"Nothing is stored about the user {user_id}.")
        return user_id
    found = list(ChatUser.objects.filter(email__iexact=reference).values_list("id", flat=True)[: MOST_NAMED + 1])
    if not found:
        raise UnknownUser("No user has this e-mail address.")
    if len(found) > 1:
        named = ", ".join(str(user_id) for user_id in found[:MOST_NAMED])
        raise UnknownUser(
            f"Several users have this e-mail address. Use an id: {named}{', …' if len(found) > MOST_NAMED else ''}"
        )
    return found[0]
