"""Remember which users were erased, so that an import does not bring them back.

A tombstone is a hash of the user's id, keyed with `SECRET_KEY`. Without the key, the table does not show whose id it is.
`SECRET_KEY_FALLBACKS` must name each earlier key whose tombstones should still count.
"""

import hashlib
import hmac
from collections.abc import Collection
from uuid import UUID

from django.conf import settings

from conversations.models import ErasedUser

PURPOSE = b"conversations.tombstones:1"


def bury(user_id: UUID) -> None:
    """Leave a tombstone. Safe to repeat."""
    ErasedUser.objects.bulk_create([ErasedUser(digest=_digest(settings.SECRET_KEY, user_id))], ignore_conflicts=True)


def erased_among(user_ids: Collection[UUID]) -> set[UUID]:
    """Return those of the users who were erased. One query."""
    secrets = (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)
    owners = {_digest(secret, user_id): user_id for secret in secrets for user_id in user_ids}
    if not owners:
        return set()
    found = ErasedUser.objects.filter(digest__in=list(owners)).values_list("digest", flat=True)
    return {owners[digest] for digest in found}


def _digest(secret: str, user_id: UUID) -> str:
    key = hmac.digest(secret.encode(), PURPOSE, hashlib.sha256)
    return hmac.digest(key, user_id.bytes, hashlib.sha256).hex()
