"""The cache without CACHE_URL: each process remembers and counts in its own memory."""

from typing import Any

from django.core.cache.backends.locmem import LocMemCache

from chatapi.environment import Rate
from chatapi.rates import Count, process_meter


class ProcessCache(LocMemCache):
    """Django's memory cache, which also counts against rates (see `rates.Meter`)."""

    def count(self, key: str, rate: Rate) -> Count:
        return process_meter.count(key, rate)

    def take_place(self, key: str, rate: Rate) -> float:
        return self.count(key, rate).wait_s

    def give_place_back(self, key: str, rate: Rate) -> None:
        process_meter.give_place_back(key, rate)

    def validate_key(self, key: str) -> None:
        """Accept every key. Django's check is for memcached and looks at each character."""

    def clear(self) -> Any:
        super().clear()
        process_meter.clear()
