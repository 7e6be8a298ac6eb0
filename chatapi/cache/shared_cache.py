"""Django's Redis cache, for thousands of greenlets, and for a server that may be away and that others may write to."""

import logging
import threading
import time
from collections.abc import Callable
from functools import cache as remember_result
from functools import cached_property
from typing import Any, TypeVar

from django.core.cache.backends.redis import RedisCache, RedisCacheClient
from redis.backoff import NoBackoff
from redis.commands.core import Script
from redis.exceptions import AskError, MasterDownError, MovedError, ReadOnlyError, RedisError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from chatapi.cache.rates import GIVE_PLACE_BACK, READ_AND_TAKE_PLACE, TAKE_PLACE, Count, period_us, place_us, process_meter
from chatapi.cache.sealed_values import ABSENT, seal, unseal
from chatapi.environment import Rate

logger = logging.getLogger(__name__)

T = TypeVar("T")

TIMEOUT_S = 1.0
# After a server did not answer, no request calls it for this long. So only one request waits for the timeout, not every one.
PAUSE_S = 5.0
# Nothing that the service stores is as long. Others may write to the server, and a long value would delay every request that
# waits for the same connection and the same event loop.
MOST_VALUE_BYTES = 64 * 1024
READ_SHORT = f"""
local found = {{}}
for place, key in ipairs(KEYS) do
  local value = redis.pcall('GET', key)
  found[place] = type(value) == 'string' and #value <= {MOST_VALUE_BYTES} and value
end
return found
"""


class Breaker:
    """Decide whether to call a server: after a failure, not for `pause_s`, and then with one call first."""

    def __init__(self, pause_s: float = PAUSE_S) -> None:
        self._pause_s = pause_s
        self._lock = threading.Lock()
        self._try_again_at: float | None = None

    def may_call(self) -> bool:
        if self._try_again_at is None:
            return True
        with self._lock:
            now = time.monotonic()
            if self._try_again_at is not None and now < self._try_again_at:
                return False
            # This call tries. The others don't call until it has succeeded.
            self._try_again_at = None if self._try_again_at is None else now + self._pause_s
            return True

    def note_success(self) -> None:
        if self._try_again_at is not None:
            self._try_again_at = None

    def note_failure(self) -> None:
        self._try_again_at = time.monotonic() + self._pause_s


class SealedRedisClient(RedisCacheClient):
    """Django's client with sealed values (see `sealed_values`) instead of pickled ones."""

    @cached_property
    def _read(self) -> Script:
        script: Script = self.get_client(write=True).register_script(READ_SHORT)
        return script

    def add(self, key: Any, value: Any, timeout: Any) -> bool:
        return bool(self.get_client(key, write=True).set(key, seal(key, value, timeout), ex=timeout, nx=True))

    def get(self, key: Any, default: Any) -> Any:
        (stored,) = self._read(keys=[key])
        value = ABSENT if stored is None else unseal(key, stored)
        return default if value is ABSENT else value

    def set(self, key: Any, value: Any, timeout: Any) -> None:
        client = self.get_client(key, write=True)
        if timeout == 0:
            client.delete(key)
        else:
            client.set(key, seal(key, value, timeout), ex=timeout)

    def get_many(self, keys: Any) -> dict[Any, Any]:
        names = list(keys)
        found: Any = zip(names, self._read(keys=names), strict=True) if names else ()
        values = {name: unseal(name, stored) for name, stored in found if stored is not None}
        return {name: value for name, value in values.items() if value is not ABSENT}

    def set_many(self, data: Any, timeout: Any) -> None:
        pipeline = self.get_client(None, write=True).pipeline()
        for key, value in data.items():
            pipeline.set(key, seal(key, value, timeout), ex=timeout)
        pipeline.execute()


class SharedServer:
    """The connections, the breaker and the scripts for one server, which all threads of this process share."""

    def __init__(self, address: str) -> None:
        self.breaker = Breaker()
        self.client = SealedRedisClient(
            [address],
            socket_connect_timeout=TIMEOUT_S,
            socket_timeout=TIMEOUT_S,
            # Connections that were idle during a restart of the server are dead. That must not look like a server that is away.
            retry=Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)),
        )
        redis = self.client.get_client(write=True)
        self.take_place: Script = redis.register_script(TAKE_PLACE)
        self.read_and_take_place: Script = redis.register_script(READ_AND_TAKE_PLACE)
        self.give_place_back: Script = redis.register_script(GIVE_PLACE_BACK)


@remember_result
def _shared_server(address: str) -> SharedServer:
    # Django makes a client with a connection pool per thread, so two hundred greenlets would open two hundred pools.
    return SharedServer(address)


class SharedRedisCache(RedisCache):
    """One connection pool per process. An unreachable server is an empty cache, not an error.

    Also a `rates.Meter`, and has the `recent_writes.Marks`.

    The service can do without the cached values (verdicts on tokens, counts of requests, figures). While the server is away,
    requests are counted in this process.
    """

    def __init__(self, server: str, params: dict[str, Any]) -> None:
        super().__init__(server, params)
        self._address = server

    @property
    def _server(self) -> SharedServer:
        return _shared_server(self._address)

    @property
    def _cache(self) -> SealedRedisClient:
        return self._server.client

    def get(self, key: str, default: Any = None, version: int | None = None) -> Any:
        return self._attempt(lambda: super(SharedRedisCache, self).get(key, default, version), default)

    def get_many(self, keys: Any, version: int | None = None) -> dict[str, Any]:
        return self._attempt(lambda: super(SharedRedisCache, self).get_many(keys, version), {})

    def has_key(self, key: str, version: int | None = None) -> bool:
        return self.get(key, ABSENT, version) is not ABSENT

    def set(self, key: str, value: Any, timeout: Any = 300, version: int | None = None) -> None:
        self._attempt(lambda: super(SharedRedisCache, self).set(key, value, timeout, version), None)

    def set_many(self, data: dict[str, Any], timeout: Any = 300, version: int | None = None) -> list[str]:
        return self._attempt(lambda: super(SharedRedisCache, self).set_many(data, timeout, version), list(data))

    def add(self, key: str, value: Any, timeout: Any = 300, version: int | None = None) -> bool:
        return self._attempt(lambda: super(SharedRedisCache, self).add(key, value, timeout, version), False)

    def touch(self, key: str, timeout: Any = 300, version: int | None = None) -> bool:
        """Refuse, because a sealed value contains its expiry."""
        raise NotImplementedError("sealed values can't be extended; set them again")

    def incr(self, key: str, delta: int = 1, version: int | None = None) -> int:
        return self._attempt(lambda: int(super(SharedRedisCache, self).incr(key, delta, version)), 0)

    def delete(self, key: str, version: int | None = None) -> bool:
        return self._attempt(lambda: bool(super(SharedRedisCache, self).delete(key, version)), False)

    def delete_many(self, keys: Any, version: int | None = None) -> None:
        self._attempt(lambda: super(SharedRedisCache, self).delete_many(keys, version), None)

    def count(self, key: str, rate: Rate) -> Count:
        return self.count_several(key, rate, 1)

    def count_several(self, key: str, rate: Rate, places: int) -> Count:
        def take() -> Count:
            arguments = [places * place_us(rate), period_us(rate)]
            wait, all_free = self._server.take_place(keys=[self.make_key(key)], args=arguments)
            return Count(rate, wait_us=int(wait), all_free_us=int(all_free))

        return self._attempt(take, None) or process_meter.count_several(key, rate, places)

    def get_and_count(self, key: str, counted: str, rate: Rate) -> tuple[Any, Count | None]:
        """Return the value of a key, and count the user whose `id` it holds under `counted` and that id: one round trip.

        (None, None) without a value or without a server.
        """

        def ask() -> tuple[Any, Count | None]:
            name = self.make_key(key)
            stored, *count = self._server.read_and_take_place(
                keys=[name], args=[place_us(rate), period_us(rate), self.make_key(counted)]
            )
            value = ABSENT if stored is None else unseal(name, stored)
            if value is ABSENT:
                return None, None
            return value, Count(rate, wait_us=int(count[0]), all_free_us=int(count[1])) if count else None

        nothing: tuple[Any, Count | None] = (None, None)
        return self._attempt(ask, nothing)

    def take_place(self, key: str, rate: Rate) -> float:
        return self.count(key, rate).wait_s

    def give_place_back(self, key: str, rate: Rate) -> None:
        def give_back() -> bool:
            self._server.give_place_back(keys=[self.make_key(key)], args=[place_us(rate)])
            return True

        if not self._attempt(give_back, False):
            process_meter.give_place_back(key, rate)

    def mark(self, key: str, seconds: int | None) -> bool:
        """Set a key without a value; see `recent_writes.Marks`."""
        return self._attempt(lambda: bool(self._redis.set(self.make_key(key), b"", ex=seconds)), False)

    def marked(self, *keys: str) -> list[bool] | None:
        names = [self.make_key(key) for key in keys]
        return self._attempt(lambda: self._exist(names), None)

    def _exist(self, names: list[str]) -> list[bool]:
        # Not MGET: the values are not ours to read, and may be long.
        pipeline = self._redis.pipeline(transaction=False)
        for name in names:
            pipeline.exists(name)
        return [bool(count) for count in pipeline.execute()]

    @property
    def _redis(self) -> Any:
        return self._cache.get_client(write=True)

    def delete_matching(self, prefix: str, is_wanted: Callable[[Any], bool]) -> int:
        """Delete the wanted values among the keys with this prefix, and return how many there were.

        It reads the keys in batches, so it does not block the server. Unlike the other methods it raises `RedisError`, because
        the caller must know whether the values are deleted.
        """
        client = self._redis
        count = 0
        for name in client.scan_iter(match=f"{self.make_key(prefix)}*", count=1000):
            # Others may have written any key, also one that is not text.
            key = name.decode(errors="replace")
            if is_wanted(self._cache.get(key, None)):
                count += bool(client.delete(key))
        return count

    def _attempt(self, operation: Callable[[], T], instead: T) -> T:
        breaker = self._server.breaker
        if not breaker.may_call():
            return instead
        try:
            result = operation()
        except RedisError as failure:
            if isinstance(failure, RedisConnectionError | RedisTimeoutError):
                breaker.note_failure()
            elif isinstance(failure, MovedError | AskError):
                breaker.note_failure()
                logger.error("CACHE_URL names a node of a cluster: the service needs one server, or a primary with replicas")
            elif isinstance(failure, ReadOnlyError | MasterDownError):
                # After a planned fail-over the connections still lead to what was the primary. New ones find the new one.
                self._redis.connection_pool.disconnect(inuse_connections=False)
                breaker.note_failure()
            else:
                breaker.note_success()
            logger.warning("cache unavailable", extra={"error": type(failure).__name__})
            return instead
        except ValueError:
            # The server's answer: the counter does not exist.
            breaker.note_success()
            raise
        breaker.note_success()
        return result
