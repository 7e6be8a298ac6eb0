"""Whose conversations an action takes. The pages that ask before an action name them."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from conversations.admin.visible import visible
from conversations.models import ChatUser

OWNERS_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Owners:
    """The users of a selection, those with the most conversations first: the first of them by name, and how many there are."""

    shown: list[tuple[str, int]]
    count: int

    @property
    def not_shown(self) -> int:
        return self.count - len(self.shown)


def owners_of(user_ids: Iterable[UUID | None]) -> Owners:
    """Name the users of conversations, given the user id of each. One query. All anonymous callers count as one."""
    counted = Counter(user_ids)
    most = counted.most_common(OWNERS_SHOWN)
    emails = dict(ChatUser.objects.filter(id__in=[user_id for user_id, _ in most if user_id]).values_list("id", "email"))
    shown = [("anonymous" if user_id is None else visible(emails.get(user_id) or user_id), count) for user_id, count in most]
    return Owners(shown=shown, count=len(counted))
