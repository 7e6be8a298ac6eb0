"""What the cache remembers of bearer tokens, under a keyed hash of each token.

Of a valid token it holds what a request needs: the user's id, and whether they are an admin. Of a rejected one, an empty
dictionary.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core.cache import cache, caches
from django.http import HttpRequest

from chatapi.auth.caller import Caller
from chatapi.cache.rates import meter
from chatapi.environment import Rate
from chatapi.limits.throttling import EARLY_COUNT, EARLY_THROTTLE, USER, EarlyCount, UserThrottle

KEY_PREFIX = "auth:"
# Change it when the form of the keys or the values changes.
VERSION = "3"


@dataclass(frozen=True, slots=True)
class RememberedToken:
    """What is known of a token. `caller` is None if the auth service rejected it."""

    caller: Caller | None


def cache_key(token: str) -> str:
    # Every request does this. BLAKE2 has keys of its own, and takes half as long as HMAC with SHA-256.
    digest = hashlib.blake2b(token.encode(), digest_size=32, key=_hash_key(settings.SECRET_KEY), person=b"auth-token")
    return f"{KEY_PREFIX}{VERSION}:{digest.hexdigest()}"


@lru_cache(maxsize=8)
def _hash_key(secret: str) -> bytes:
    # A key has at most 64 bytes; a secret may have more.
    return hashlib.blake2b(secret.encode()).digest()


def remember(key: str, token: RememberedToken, seconds: float) -> None:
    caller = token.caller
    cache.set(key, {} if caller is None else {"id": str(caller.id), "is_admin": caller.is_admin}, seconds)


def recall(key: str) -> RememberedToken | None:
    return _token_of(cache.get(key))


def _token_of(value: Any) -> RememberedToken | None:
    # Ignore other types: a process that can write to a shared cache could store a bare number there.
    if not isinstance(value, dict):
        return None
    return RememberedToken(Caller(UUID(value["id"]), value["is_admin"]) if value else None)


def forget_tokens_of(user_id: UUID) -> int | None:
    """Delete a user's tokens from the shared cache. Return how many there were, or None if there is no shared cache.

    The keys don't contain the user, so this reads every remembered token. Raises `RedisError`.
    """
    # The client library is a fifth of what a process loads at its start. Load it only where there is a shared cache.
    from chatapi.cache.shared_cache import SharedRedisCache

    shared = caches["default"]
    if not isinstance(shared, SharedRedisCache):
        return None
    wanted = str(user_id)

    def belongs_to_user(value: Any) -> bool:
        return isinstance(value, dict) and value.get("id") == wanted

    return shared.delete_matching(KEY_PREFIX, belongs_to_user)


def recalling(request: HttpRequest) -> Callable[[str], RememberedToken | None]:
    """Return what recalls the token of a request, and counts the request if `count_early` has said so."""
    throttle: UserThrottle | None = request.META.get(EARLY_THROTTLE)
    rate: Rate | None = None if throttle is None else getattr(settings, throttle.limit.settings[0])
    if throttle is None or rate is None:
        return recall
    prefix = f"throttle:{throttle.scope}:{USER}"

    def recall_and_note(key: str) -> RememberedToken | None:
        value, count = meter.get_and_count(key, prefix, rate)
        token = _token_of(value)
        if token is not None and token.caller is not None and count is not None:
            request.META[EARLY_COUNT] = EarlyCount(f"{prefix}{token.caller.id}", count)
        return token

    return recall_and_note
