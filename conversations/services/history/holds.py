"""Legal holds: keep everything of a user, or one conversation, from every deletion.

Principle: three nets. What deletes many rows leaves out what is on hold (`ConversationQuerySet.without_hold`) and says how
much that was. What deletes for one caller refuses before it changes anything (`refuse_held`). And triggers of the database
(migration `legal_holds`) refuse each statement that deletes something on hold, whoever runs it: a node of the version before,
the predecessor, a person with psql, or a deletion that began just before the hold.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from uuid import UUID

import psycopg
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from conversations.exceptions import OnHold
from conversations.models import Conversation
from conversations.models.holds import LegalHold
from conversations.querysets import ConversationQuerySet

# What the triggers name as the violated constraint.
CONSTRAINT = "legal_hold"
IN_FORCE_SQL = "hold.released_at IS NULL AND (hold.ends_at IS NULL OR hold.ends_at > now())"
# For a column with the id of a user, or of a conversation.
IS_USER_HELD_SQL = f"EXISTS (SELECT FROM legal_holds AS hold WHERE hold.user_id = {{column}} AND {IN_FORCE_SQL})"
IS_CONVERSATION_HELD_SQL = (
    f"EXISTS (SELECT FROM legal_holds AS hold WHERE hold.conversation_id = {{column}} AND {IN_FORCE_SQL})"
)


class NothingToHold(Exception):
    """Such a conversation does not exist. The text is for the person who wants to hold it."""


def in_force() -> "QuerySet[LegalHold]":
    return LegalHold.objects.filter(Q(ends_at__isnull=True) | Q(ends_at__gt=Now()), released_at__isnull=True)


def holds_of_all_time() -> "QuerySet[LegalHold]":
    """Return all holds, the newest first (answered by idx_legal_holds_placed)."""
    return LegalHold.objects.order_by("-placed_at", "-id")


def has_holds() -> bool:
    """Return whether anything is on hold. One query, of a table that is nearly always small."""
    return in_force().exists()


def holds_on_user(user_id: UUID) -> "QuerySet[LegalHold]":
    """Return the holds in force on a user, and on single conversations of the user."""
    theirs = Conversation.objects.owned_by(user_id).values("id")
    return in_force().filter(Q(user_id=user_id) | Q(conversation_id__in=theirs)).order_by("id")


def holds_on_conversation(conversation_id: UUID, user_id: UUID | None) -> "QuerySet[LegalHold]":
    """Return the holds in force on a conversation, and on its user."""
    return in_force().filter(Q(conversation_id=conversation_id) | Q(user_id=user_id, user_id__isnull=False)).order_by("id")


def refuse_held(conversations: ConversationQuerySet) -> None:
    """Raise `OnHold` if one of these conversations, or its user, is on hold. One query."""
    if conversations.on_hold().exists():
        raise OnHold


def refuse_held_user(user_id: UUID, *, with_conversations: bool = False) -> None:
    """Raise `OnHold` if a user is on hold or, if asked for, one of the user's conversations. One query."""
    holds = holds_on_user(user_id) if with_conversations else in_force().filter(user_id=user_id)
    if holds.exists():
        raise OnHold


@contextmanager
def refusing_held() -> Iterator[None]:
    """Raise `OnHold` where a trigger refused to delete something, for example because of a hold of this very moment."""
    try:
        yield
    except IntegrityError as failure:
        if is_refusal(failure):
            raise OnHold from None
        raise


def is_refusal(failure: DatabaseError) -> bool:
    cause = failure.__cause__
    return isinstance(cause, psycopg.Error) and cause.diag.constraint_name == CONSTRAINT


def place_hold(
    *,
    reason: str,
    placed_by: str,
    user_id: UUID | None = None,
    conversation_id: UUID | None = None,
    ends_at: datetime | None = None,
) -> LegalHold:
    """Hold a user or a conversation. When the transaction has ended, no deletion that began before goes on.

    Raises `NothingToHold` if the conversation does not exist.
    """
    rows = Conversation.objects
    held = rows.filter(id=conversation_id) if conversation_id else rows.owned_by(user_id)
    with transaction.atomic():
        # Waits for transactions that delete them. Later ones wait for this one, and then see the hold.
        if not _lock(held) and conversation_id is not None:
            raise NothingToHold("This conversation does not exist.")
        hold = LegalHold(user_id=user_id, conversation_id=conversation_id, reason=reason, placed_by=placed_by, ends_at=ends_at)
        hold.save(force_insert=True)
    hold.refresh_from_db()
    return hold


def release_hold(*, hold_id: int, released_by: str) -> bool:
    """End a hold now. Return whether it was in force."""
    found = in_force().filter(pk=hold_id)
    return bool(found.update(released_at=timezone.now(), released_by=released_by))


def change_end(*, hold_id: int, ends_at: datetime | None) -> bool:
    """Change when a hold ends by itself. Return whether it was in force: what has ended needs a new hold."""
    return bool(in_force().filter(pk=hold_id).update(ends_at=ends_at))


def _lock(conversations: ConversationQuerySet) -> int:
    """Lock rows against deletion only, and return how many there are. Sends go on."""
    statement, parameters = conversations.order_by("id").values_list("id").query.sql_with_params()
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM ({statement} FOR KEY SHARE) AS locked", parameters)  # noqa: S608  # Django's own
        return int(cursor.fetchone()[0])
