"""Users' ratings as an inbox for staff: list them, mark them as handled.

A list reads a limited number of the newest rated messages of each rating from idx_messages_feedback, and applies the other
conditions to those.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db.models import OuterRef, Subquery
from django.db.models.functions import Now

from conversations.keyset import SortKey, after_key
from conversations.models import ChatUser, Message
from conversations.querysets import MessageQuerySet

MOST_READ = 5_000
OPEN_PERIOD = timedelta(days=30)
RATINGS = (-1, 1)


@dataclass(frozen=True, slots=True)
class Criteria:
    """Which ratings to list. None, "" and the like restrict nothing."""

    rating: int | None = None
    is_handled: bool | None = None
    model_tag: str = ""
    assistant_id: UUID | None = None
    since: datetime | None = None
    until: datetime | None = None
    words: str = ""


def list_feedback(criteria: Criteria, *, before: SortKey | None, limit: int) -> list[Any]:
    """Return rated messages, newest first, with `email` of the user. Two queries for each rating."""
    ratings = RATINGS if criteria.rating is None else (criteria.rating,)
    found = [row for rating in ratings for row in _list_rating(rating, criteria, before, limit)]
    return sorted(found, key=lambda row: (row.created_at, row.id), reverse=True)[:limit]


def _list_rating(rating: int, criteria: Criteria, before: SortKey | None, limit: int) -> list[Any]:
    newest = Message.objects.filter(feedback=rating, created_at__isnull=False)
    if criteria.since:
        newest = newest.filter(created_at__gte=criteria.since)
    if criteria.until:
        newest = newest.filter(created_at__lt=criteria.until)
    if before:
        newest = newest.filter(after_key(before, "created_at", descending=True))
    # The time of the last message that is considered, from the index alone.
    last = newest.newest_first().values_list("created_at", flat=True)[MOST_READ - 1 : MOST_READ]
    if times := list(last):
        newest = newest.filter(created_at__gte=times[0])
    email = Subquery(ChatUser.objects.filter(id=OuterRef("conversation__user_id")).values("email")[:1])
    rows = _restrict(newest, criteria).select_related("conversation__assistant")
    rows = rows.defer("content", "reasoning", "context", "request_options")
    return list(rows.annotate(email=email).newest_first()[:limit])


def _restrict(rows: MessageQuerySet, criteria: Criteria) -> MessageQuerySet:
    if criteria.is_handled is not None:
        rows = rows.filter(feedback_handled_at__isnull=not criteria.is_handled)
    if criteria.model_tag:
        rows = rows.filter(model_tag=criteria.model_tag)
    if criteria.assistant_id:
        rows = rows.filter(conversation__assistant_id=criteria.assistant_id)
    if criteria.words:
        rows = rows.filter(feedback_comment__icontains=criteria.words)
    return rows


def mark_handled(*, message_id: UUID, staff_name: str, note: str) -> bool:
    """Mark a rating as handled, with a note. Return whether the message is still rated."""
    rated = Message.objects.filter(id=message_id, feedback__isnull=False)
    return bool(rated.update(feedback_handled_at=Now(), feedback_handled_by=staff_name, feedback_note=note or None))


def reopen(*, message_id: UUID) -> bool:
    """Take the mark away again. The note stays."""
    return bool(Message.objects.filter(id=message_id, feedback__isnull=False).update(feedback_handled_at=None))


def count_open(*, rating: int) -> tuple[int, bool]:
    """Count the ratings of the last 30 days that are not handled, and say whether there may be more than were read."""
    newest = Message.objects.filter(feedback=rating, created_at__gte=Now() - OPEN_PERIOD).newest_first()
    handled = list(newest.values_list("feedback_handled_at", flat=True)[:MOST_READ])
    return sum(at is None for at in handled), len(handled) == MOST_READ
