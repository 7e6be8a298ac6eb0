"""Create a conversation once for each Idempotency-Key of a user, on whichever surface.

A key is remembered for a day, or until its conversation is deleted. Each creation deletes the user's older keys, so a user has
no more keys than conversations.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import NamedTuple
from uuid import UUID

from django.db import connection, transaction
from django.db.models.functions import Now

from conversations.models.keys import CreationKey
from conversations.services.sending.retries import fingerprint_of, require_same

REMEMBERED_FOR = timedelta(hours=24)


class Made(NamedTuple):
    """A conversation, and whether an earlier request with the same key has made it."""

    id: UUID
    is_replay: bool = False


def create_once(user_id: UUID, key: str, request: list[object], create: Callable[[], UUID]) -> Made:
    """Return the conversation that the first request with this key created, or create it.

    `request` is what must be equal in requests with one key. Runs in one transaction with `create`. Raises
    `IdempotencyMismatch`, and what `create` raises.
    """
    fingerprint = fingerprint_of("create", request)
    with transaction.atomic():
        _wait_for_same_key(user_id, key)
        keys = CreationKey.objects.filter(user_id=user_id)
        keys.filter(created_at__lt=Now() - REMEMBERED_FOR).delete()
        found = keys.filter(key=key).values("fingerprint", "conversation_id").first()
        if found is not None:
            require_same(found["fingerprint"], fingerprint)
            return Made(found["conversation_id"], is_replay=True)
        made_id = create()
        CreationKey.objects.create(user_id=user_id, key=key, fingerprint=fingerprint, conversation_id=made_id)
        return Made(made_id)


def _wait_for_same_key(user_id: UUID, key: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"creation:{user_id}:{key}"])
