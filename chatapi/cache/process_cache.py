"""The cache without CACHE_URL: each process remembers and counts in its own memory."""

from typing import Any

from django.core.cache.backends.locmem import LocMemCache

from chatapi.cache.rates import Count, process_meter
from chatapi.environment import Rate


class ProcessCache(LocMemCache):
    """Django's memory cache, which also counts against rates (see `rates.Meter`)."""

    def count(self, key: str, rate: Rate, places: int = 1) -> Count:
        return process_meter.count(key, rate, places)

    def get_and_count(self, key: str, counted: str, rate: Rate) -> tuple[Any, Count | None]:
        # `count` takes no round trip here.
        return self.get(key), None

    def give_place_back(self, key: str, rate: Rate) -> None:
        process_meter.give_place_back(key, rate)

    def validate_key(self, key: str) -> None:
        """Accept every key. Django's check is for memcached and looks at each character."""

    def clear(self) -> Any:
        super().clear()
        process_meter.clear()
