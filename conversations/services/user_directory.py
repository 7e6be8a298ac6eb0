"""The directory of users, as the auth service last described them."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

import psycopg
from django.db import DatabaseError, IntegrityError
from django.db.models.functions import Now

from conversations.exceptions import UnknownUser
from conversations.models import ChatUser

logger = logging.getLogger(__name__)

# The predecessor's foreign key. A database that was taken over has it until an operator drops it.
USER_KEY = "conversations_user_id_fkey"


@contextmanager
def requires_known_user() -> Iterator[None]:
    """Raise `UnknownUser` for a violation of the predecessor's foreign key."""
    try:
        yield
    except IntegrityError as violation:
        cause = violation.__cause__
        if isinstance(cause, psycopg.errors.ForeignKeyViolation) and cause.diag.constraint_name == USER_KEY:
            logger.warning("user is missing from the predecessor's table of users", extra={"error": USER_KEY})
            raise UnknownUser from None
        raise


def remember_user(*, user_id: UUID, email: str, name: str, is_admin: bool) -> None:
    """Save a user whom the auth service has just described. Database errors are only logged: only staff need the directory."""
    user = ChatUser(id=user_id, email=email, name=name, is_admin=is_admin, last_seen_at=Now())
    try:
        ChatUser.objects.bulk_create(
            [user],
            update_conflicts=True,
            unique_fields=["id"],
            update_fields=["email", "name", "is_admin", "last_seen_at"],
        )
    except DatabaseError:
        logger.warning("user not saved in the directory", exc_info=True)
