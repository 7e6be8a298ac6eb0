"""The directory of users: what the auth service last said of each."""

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

# The predecessor's; a database that was taken over has it until an operator drops it.
USER_KEY = "conversations_user_id_fkey"


@contextmanager
def requires_known_user() -> Iterator[None]:
    """Turn a violation of the predecessor's foreign key into the refusal that it is. Raises `UnknownUser`."""
    try:
        yield
    except IntegrityError as violation:
        cause = violation.__cause__
        if isinstance(cause, psycopg.errors.ForeignKeyViolation) and cause.diag.constraint_name == USER_KEY:
            logger.warning("user has no row in the table that conversations refer to", extra={"error": USER_KEY})
            raise UnknownUser from None
        raise


def remember_user(*, user_id: UUID, email: str, name: str, is_admin: bool) -> None:
    """Note a user whom the auth service has just described. Never fails: staff search by it, nothing depends on it."""
    user = ChatUser(id=user_id, email=email, name=name, is_admin=is_admin, last_seen_at=Now())
    try:
        ChatUser.objects.bulk_create(
            [user],
            update_conflicts=True,
            unique_fields=["id"],
            update_fields=["email", "name", "is_admin", "last_seen_at"],
        )
    except DatabaseError:
        logger.warning("user not noted in the directory", exc_info=True)
