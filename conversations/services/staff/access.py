"""Record what staff do with users' conversations. The records contain ids and the staff user's name, never what users wrote."""

from collections.abc import Iterable
from uuid import UUID

from conversations.models import AccessKind, StaffAccess

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
