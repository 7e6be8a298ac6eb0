"""Django's Redis cache, made fit for thousands of greenlets and for a cache that goes away."""

import logging
from collections.abc import Iterator
from functools import cache as remember_result
from typing import Any

from django.core.cache.backends.redis import RedisCache, RedisCacheClient
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)


@remember_result
def _shared_client(server: str) -> RedisCacheClient:
    # Django makes a client, and with it a connection pool, per thread: two hundred greenlets would open two hundred pools.
    return RedisCacheClient([server], socket_connect_timeout=1.0, socket_timeout=1.0)


class SharedRedisCache(RedisCache):
    """One connection pool per process; an unreachable server is an empty cache, never an error.

    What is cached here (verdicts on tokens, request counts) can be had again; the service must not stop without it.
    """

    def __init__(self, server: str, params: dict[str, Any]) -> None:
        super().__init__(server, params)
        self._server = server

    @property
    def _cache(self) -> RedisCacheClient:
        return _shared_client(self._server)

    def get(self, key: str, default: Any = None, version: int | None = None) -> Any:
        try:
            return super().get(key, default, version)
        except RedisError as failure:
            return _unavailable(failure, default)

    def set(self, key: str, value: Any, timeout: Any = 300, version: int | None = None) -> None:
        try:
            super().set(key, value, timeout, version)
        except RedisError as failure:
            _unavailable(failure, None)

    def add(self, key: str, value: Any, timeout: Any = 300, version: int | None = None) -> bool:
        try:
            return bool(super().add(key, value, timeout, version))
        except RedisError as failure:
            return bool(_unavailable(failure, False))

    def incr(self, key: str, delta: int = 1, version: int | None = None) -> int:
        try:
            return int(super().incr(key, delta, version))
        except RedisError as failure:
            return int(_unavailable(failure, 0))

    def delete(self, key: str, version: int | None = None) -> bool:
        try:
            return bool(super().delete(key, version))
        except RedisError as failure:
            return bool(_unavailable(failure, False))

    def keys_beginning_with(self, prefix: str) -> Iterator[str]:
        """Yield the keys that begin so, in batches that never hold the server up. Raises `RedisError`, unlike the rest."""
        stored_prefix = self.make_key(prefix)
        client = self._cache.get_client(write=False)
        for stored in client.scan_iter(match=f"{stored_prefix}*", count=1000):
            yield prefix + stored.decode().removeprefix(stored_prefix)


def _unavailable(failure: RedisError, instead: Any) -> Any:
    logger.warning("cache unavailable", extra={"error": type(failure).__name__})
    return instead
