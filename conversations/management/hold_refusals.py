"""Refuse a command about a user who is on hold."""

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from django.core.management.base import CommandError

from conversations.exceptions import OnHold
from conversations.models.holds import LegalHold
from conversations.services.history.holds import holds_on_user

ON_HOLD = 4
MOST_NAMED = 10


def refuse_user_on_hold(user_id: UUID) -> None:
    """Raise `CommandError` if a user, or one of the user's conversations, is on hold. Never quotes a reason."""
    holds = list(holds_on_user(user_id)[: MOST_NAMED + 1])
    if holds:
        named = "; ".join(map(describe, holds[:MOST_NAMED])) + ("; …" if len(holds) > MOST_NAMED else "")
        raise CommandError(f"On hold: {named}. Nothing was changed. See legal_hold list.", returncode=ON_HOLD)


@contextmanager
def saying_what_is_held() -> Iterator[None]:
    """Turn the refusal of a hold that came during the work into a `CommandError`."""
    try:
        yield
    except OnHold:
        text = "Something was put on hold meanwhile. What was done before stays done. See legal_hold list."
        raise CommandError(text, returncode=ON_HOLD) from None


def describe(hold: LegalHold) -> str:
    what = f"the conversation {hold.conversation_id}" if hold.conversation_id else f"the user {hold.user_id}"
    until = f" until {hold.ends_at:%Y-%m-%d %H:%M} UTC" if hold.ends_at else ""
    return f"{what} since {hold.placed_at:%Y-%m-%d}{until} (hold {hold.pk})"
