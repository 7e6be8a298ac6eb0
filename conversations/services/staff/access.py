"""Record what staff do with users' conversations.

The records contain ids, the staff user's name and what staff searched for, never what users wrote.
"""

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from conversations.models import AccessKind, StaffAccess
from conversations.staff_models import MOST_SEARCH_CHARACTERS, NO_CONVERSATION

BATCH = 1000


def note_access(*, staff_id: int, staff_name: str, kind: AccessKind, conversations: Iterable[tuple[UUID, UUID | None]]) -> None:
    """Note that a member of staff read, exported or deleted conversations, given as (id, user id)."""
    StaffAccess.objects.bulk_create(
        [
            StaffAccess(staff_id=staff_id, staff_name=staff_name, kind=kind, conversation_id=conversation_id, user_id=user_id)
            for conversation_id, user_id in conversations
        ],
        batch_size=BATCH,
    )


def note_reading(
    *, staff_id: int, staff_name: str, conversation_id: UUID, user_id: UUID | None, since: datetime | None
) -> None:
    """Note that a member of staff read a conversation, once per sitting, which began at `since` (None: always note it)."""
    known = StaffAccess.objects.filter(conversation_id=conversation_id, staff_id=staff_id, kind=AccessKind.READ)
    if since is None or not known.filter(at__gte=since).exists():
        conversations = [(conversation_id, user_id)]
        note_access(staff_id=staff_id, staff_name=staff_name, kind=AccessKind.READ, conversations=conversations)


def note_list(*, staff_id: int, staff_name: str, user_id: UUID | None, search: str) -> None:
    """Note that a member of staff saw a page with the titles of conversations: of one user, or those that a search found."""
    StaffAccess.objects.create(
        staff_id=staff_id,
        staff_name=staff_name,
        kind=AccessKind.LISTED,
        conversation_id=NO_CONVERSATION,
        user_id=user_id,
        search=search[:MOST_SEARCH_CHARACTERS],
    )
