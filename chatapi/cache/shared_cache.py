"""A cache in Redis or Valkey, for thousands of greenlets, and for a server that may be away and that others may write to."""

import logging
import math
import re
import threading
import time
from collections.abc import Callable
from functools import cache as remember_result
from typing import Any, TypeVar

from django.core.cache.backends.base import DEFAULT_TIMEOUT, BaseCache
from redis import Redis
from redis.backoff import NoBackoff
from redis.commands.core import Script
from redis.exceptions import AskError, ClusterDownError, MovedError, NoScriptError, RedisError
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
# What a server says that is no primary any more, or one that its replicas have left. Before Redis 7, a script's error has the
# word in its middle.
FORMER_PRIMARY = re.compile(r"\b(?:READONLY|ReadOnlyError|MASTERDOWN|MasterDownError|NOREPLICAS)\b|read only (?:replica|slave)")
# Nothing that the service stores is as long. Others may write to the server, and a long value would delay every request that
# waits for the same connection and the same event loop.
MOST_VALUE_BYTES = 64 * 1024
READ_SHORT = f"""
local value = redis.pcall('GET', KEYS[1])
return type(value) == 'string' and #value <= {MOST_VALUE_BYTES} and value
"""


# Not MGET: the values are not ours to read, and may be long. A script, because a server forgets its scripts where it may forget
# keys: when it starts, perhaps from an older snapshot, and when a replica takes its place.
EXIST = """
local found = {}
for place, key in ipairs(KEYS) do
  found[place] = redis.call('EXISTS', key)
end
return found
"""


class Breaker:
    """Decide whether to call a server: after a failure, not for `pause_s`, and then with one call first."""

    def __init__(self, pause_s: float = PAUSE_S) -> None:
        self._pause_s = pause_s
        self._lock = threading.Lock()
        # 0 after a success.
        self._try_again_at = 0.0

    def may_call(self) -> bool:
        if not self._try_again_at:
            return True
        with self._lock:
            now = time.monotonic()
            if now < self._try_again_at:
                return False
            # This call tries. The others don't call until it has succeeded.
            self._try_again_at = self._try_again_at and now + self._pause_s
            return True

    def note_success(self) -> None:
        self._try_again_at = 0.0

    def note_failure(self) -> None:
        self._try_again_at = time.monotonic() + self._pause_s


class SharedServer:
    """The connections, the breaker and the scripts for one server, which all threads of this process share."""

    def __init__(self, address: str) -> None:
        self.breaker = Breaker()
        self.client: Redis = Redis.from_url(
            address,
            socket_connect_timeout=TIMEOUT_S,
            socket_timeout=TIMEOUT_S,
            # Connections that were idle during a restart of the server are dead. That must not look like a server that is away.
            retry=Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)),
        )
        self.read_short: Script = self.client.register_script(READ_SHORT)
        self.take_place: Script = self.client.register_script(TAKE_PLACE)
        self.read_and_take_place: Script = self.client.register_script(READ_AND_TAKE_PLACE)
        self.exist: Script = self.client.register_script(EXIST)
        self.give_place_back: Script = self.client.register_script(GIVE_PLACE_BACK)


@remember_result
def _shared_server(address: str) -> SharedServer:
    # Django makes a cache for each thread, so two hundred greenlets would open two hundred pools.
    return SharedServer(address)


class SharedRedisCache(BaseCache):
    """One connection pool per process. An unreachable server is an empty cache, not an error.

    Also a `rates.Meter`, and has the `recent_writes.Marks`. It has no other methods of Django's cache than those that are used.

    The service can do without the cached values (verdicts on tokens, counts of requests, figures). While the server is away,
    requests are counted in this process.
    """

    def __init__(self, server: str, params: dict[str, Any]) -> None:
        super().__init__(params)
        self._address = server

    @property
    def server(self) -> SharedServer:
        return _shared_server(self._address)

    @property
    def client(self) -> Redis:
        return self.server.client

    def get(self, key: str, default: Any = None, version: int | None = None) -> Any:
        name = self.make_and_validate_key(key, version)
        value = self._attempt(lambda: self._read(name), ABSENT)
        return default if value is ABSENT else value

    def set(self, key: str, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> None:
        name = self.make_and_validate_key(key, version)
        lifetime_s = self.default_timeout if timeout is DEFAULT_TIMEOUT else timeout
        # Redis takes whole seconds, and the value contains its own end.
        ex = None if lifetime_s is None else max(1, math.ceil(lifetime_s))
        self._attempt(lambda: self.client.set(name, seal(name, value, lifetime_s), ex=ex), None)

    def delete(self, key: str, version: int | None = None) -> bool:
        name = self.make_and_validate_key(key, version)
        return self._attempt(lambda: bool(self.client.delete(name)), False)

    def clear(self) -> None:
        self.client.flushdb()

    def _read(self, name: str) -> Any:
        stored = self.server.read_short(keys=[name])
        return ABSENT if stored is None else unseal(name, stored)

    def count(self, key: str, rate: Rate, places: int = 1) -> Count:
        def take() -> Count:
            arguments = [places * place_us(rate), period_us(rate)]
            wait, all_free = self.server.take_place(keys=[self.make_key(key)], args=arguments)
            return Count(rate, wait_us=int(wait), all_free_us=int(all_free))

        return self._attempt(take, None) or process_meter.count(key, rate, places)

    def get_and_count(self, key: str, counted: str, rate: Rate) -> tuple[Any, Count | None]:
        def ask() -> tuple[Any, Count | None]:
            name = self.make_key(key)
            stored, *count = self.server.read_and_take_place(
                keys=[name], args=[place_us(rate), period_us(rate), self.make_key(counted)]
            )
            value = ABSENT if stored is None else unseal(name, stored)
            if value is ABSENT:
                return None, None
            return value, Count(rate, wait_us=int(count[0]), all_free_us=int(count[1])) if count else None

        nothing: tuple[Any, Count | None] = (None, None)
        return self._attempt(ask, nothing)

    def give_place_back(self, key: str, rate: Rate) -> None:
        def give_back() -> bool:
            self.server.give_place_back(keys=[self.make_key(key)], args=[place_us(rate)])
            return True

        if not self._attempt(give_back, False):
            process_meter.give_place_back(key, rate)

    def mark(self, key: str, seconds: int | None) -> bool:
        """Set a key without a value; see `recent_writes.Marks`."""
        return self._attempt(lambda: bool(self.client.set(self.make_key(key), b"", ex=seconds)), False)

    def marked(self, *keys: str) -> list[bool] | None:
        names = [self.make_key(key) for key in keys]
        return self._attempt(lambda: self._exist(names), None)

    def _exist(self, names: list[str]) -> list[bool]:
        sha, count = self.server.exist.sha, len(names)
        try:
            found = self.client.evalsha(sha, count, *names)
        except NoScriptError:
            # In this order, so that no process that finds the script finds the first key of before.
            self.client.delete(names[0])
            self.client.script_load(EXIST)
            found = self.client.evalsha(sha, count, *names)
        return [bool(each) for each in found]

    def delete_matching(self, prefix: str, is_wanted: Callable[[Any], bool]) -> int:
        """Delete the wanted values among the keys with this prefix, and return how many there were.

        It reads the keys in batches, so it does not block the server. Unlike the other methods it raises `RedisError`, because
        the caller must know whether the values are deleted.
        """
        client = self.client
        count = 0
        for name in client.scan_iter(match=f"{self.make_key(prefix)}*", count=1000):
            # Others may have written any key, also one that is not text.
            key = name.decode(errors="replace")
            if is_wanted(self._read(key)):
                count += bool(client.delete(key))
        return count

    def _attempt(self, operation: Callable[[], T], instead: T) -> T:
        breaker = self.server.breaker
        if not breaker.may_call():
            return instead
        try:
            result = operation()
        except RedisError as failure:
            if isinstance(failure, RedisConnectionError | RedisTimeoutError):
                breaker.note_failure()
            elif FORMER_PRIMARY.search(f"{type(failure).__name__} {failure}"):
                # After a planned fail-over the connections still lead to what was the primary. New ones find the new one.
                self.client.connection_pool.disconnect(inuse_connections=False)
                breaker.note_failure()
            elif isinstance(failure, MovedError | AskError | ClusterDownError):
                breaker.note_failure()
                logger.error("CACHE_URL names a node of a cluster: the service needs one server, or a primary with replicas")
            else:
                breaker.note_success()
            logger.warning("cache unavailable", extra={"error": type(failure).__name__})
            return instead
        breaker.note_success()
        return result
