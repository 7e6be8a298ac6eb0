"""The cache without CACHE_URL: each process remembers and counts in its own memory."""

import pickle
import time
from collections import OrderedDict
from typing import Any

from django.core.cache.backends.locmem import LocMemCache

from chatapi.cache.rates import Count, process_meter
from chatapi.environment import Rate


class ProcessCache(LocMemCache):
    """Django's memory cache, which also counts against rates (see `rates.Meter`)."""

    # Django's annotations have none of these.
    _cache: OrderedDict[str, bytes]
    _expire_info: dict[str, float | None]

    def get(self, key: str, default: Any = None, version: int | None = None) -> Any:
        """Return a value. Unlike Django's method, it takes no lock, and does not delete a value that has expired.

        A value that has expired is deleted when it is the one that was unused for longest, and room is needed.
        """
        name = self.make_key(key, version)
        try:
            expires_at, stored = self._expire_info[name], self._cache[name]
            if expires_at is not None and expires_at <= time.time():
                return default
            self._cache.move_to_end(name, last=False)
        except KeyError:
            return default
        return pickle.loads(stored)  # noqa: S301  # from this process's own memory

    def count(self, key: str, rate: Rate, places: int = 1) -> Count:
        return process_meter.count(key, rate, places)

    def get_and_count(self, key: str, counted: str, rate: Rate) -> tuple[Any, Count | None]:
        """Return the value of a key. Unlike a shared cache, this one leaves the counting to `count`: that is no round trip."""
        return self.get(key), None

    def give_place_back(self, key: str, rate: Rate) -> None:
        process_meter.give_place_back(key, rate)

    def validate_key(self, key: str) -> None:
        """Accept every key. Django's check is for memcached and looks at each character."""

    def clear(self) -> Any:
        super().clear()
        process_meter.clear()
