"""Forgetting the tokens of one user before their time."""

from uuid import UUID

from django.core.cache import caches

from chatapi.shared_cache import SharedRedisCache

# Every verdict's key begins with this (see authentication.py); the rest is a version and a keyed hash of the token.
KEY_PREFIX = "auth:"


def forget_tokens(user_id: UUID) -> int | None:
    """Forget what the shared cache remembers of a user's tokens; return how many, None where there is no shared cache.

    The keys don't tell whose they are, so every remembered token is looked at. Raises `RedisError`.
    """
    shared = caches["default"]
    if not isinstance(shared, SharedRedisCache):
        return None
    wanted = str(user_id)
    return shared.delete_matching(KEY_PREFIX, lambda verdict: isinstance(verdict, dict) and verdict.get("id") == wanted)
