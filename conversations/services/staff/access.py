"""Record what staff do with users' conversations.

The records contain ids, the staff user's name and address, what staff searched for and the reason that they gave, never what
users wrote.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from chatapi.database.connections import release_connections
from conversations.models import AccessKind, StaffAccess
from conversations.models.staff import MOST_REASON_CHARACTERS, MOST_SEARCH_CHARACTERS, NO_CONVERSATION

BATCH = 1000
MOST_EXPORTED = 100_000


@dataclass(frozen=True, slots=True)
class Reader:
    """A member of staff who looks at something: from which address, and what for in their own words."""

    staff_id: int
    staff_name: str
    address: str = ""
    reason: str = ""

    def record(self, kind: AccessKind, **what: Any) -> StaffAccess:
        return StaffAccess(
            staff_id=self.staff_id,
            staff_name=self.staff_name,
            address=self.address,
            reason=self.reason[:MOST_REASON_CHARACTERS],
            kind=kind,
            **what,
        )


def note_access(*, reader: Reader, kind: AccessKind, conversations: Iterable[tuple[UUID, UUID | None]]) -> None:
    """Note that a member of staff read, exported or deleted conversations, given as (id, user id)."""
    records = [reader.record(kind, conversation_id=row_id, user_id=user_id) for row_id, user_id in conversations]
    StaffAccess.objects.bulk_create(records, batch_size=BATCH)


def note_reading(*, reader: Reader, conversation_id: UUID, user_id: UUID | None, since: datetime | None) -> None:
    """Note that a member of staff read a conversation, once per reason and sitting, which began at `since` (None: always)."""
    known = StaffAccess.objects.filter(
        conversation_id=conversation_id, staff_id=reader.staff_id, kind=AccessKind.READ, reason=reader.reason
    )
    if since is None or not known.filter(at__gte=since).exists():
        note_access(reader=reader, kind=AccessKind.READ, conversations=[(conversation_id, user_id)])


def note_list(*, reader: Reader, user_id: UUID | None, search: str, kind: AccessKind = AccessKind.LISTED) -> None:
    """Note that a member of staff saw a page with the titles of conversations: of one user, or those that a search found."""
    what = {"conversation_id": NO_CONVERSATION, "user_id": user_id, "search": search[:MOST_SEARCH_CHARACTERS]}
    reader.record(kind, **what).save()


def export_records(records: Any, columns: tuple[str, ...]) -> Iterator[list[tuple[Any, ...]]]:
    """Yield the newest 100,000 of these records in batches, newest first. No connection is held between two batches."""
    last_id, count = None, 0
    while count < MOST_EXPORTED:
        release_connections()
        page = records.order_by("-id") if last_id is None else records.order_by("-id").filter(id__lt=last_id)
        rows = list(page.values_list("id", *columns)[:BATCH])
        if not rows:
            return
        last_id, count = rows[-1][0], count + len(rows)
        yield [row[1:] for row in rows]
