"""The directory of users: what the auth service last said of each."""

import logging
from uuid import UUID

from django.db import DatabaseError
from django.db.models.functions import Now

from conversations.models import ChatUser

logger = logging.getLogger(__name__)


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
