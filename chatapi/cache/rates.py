"""Counting against a rate without windows: the generic cell rate algorithm (see docs/decisions/0014).

A key has room for as many requests as its rate allows in one period; each request takes a place, and places come back one by
one, evenly over the period. The state of a key is one number, the time at which all its places are free again.

`meter` counts in Django's cache, whichever that is. `ProcessMeter` counts in this process, and the scripts count in Redis or
Valkey, by its clock. Times are whole microseconds, which both sides hold exactly.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, cast

from django.core.cache import cache

from chatapi.environment import Rate

MICROSECONDS = 1_000_000
MOST_KEYS = 50_000

# ARGV: the microseconds until the places come back, and the period's. Returns how many microseconds to wait; 0: they are taken.
# Also returns after how many microseconds all places are free.
# A number that no count can reach was forged, or comes from a clock that was set back; it counts as a full key.
_TAKE = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local held = redis.pcall('GET', key)
local free_at = type(held) == 'string' and tonumber(held) or now
local place, period = tonumber(ARGV[1]), tonumber(ARGV[2])
if not (free_at > now) then free_at = now end
if free_at > now + period then free_at = now + period end
local wait, left = free_at + place - now - period, free_at - now
if wait <= 0 then
  wait, left = 0, free_at + place - now
  redis.call('SET', key, string.format('%.0f', free_at + place), 'PX', math.ceil(left / 1000))
end
"""
TAKE_PLACE = f"local key = KEYS[1] {_TAKE} return {{wait, left}}"
# Reads a sealed value. If it names a user, also takes a place under ARGV[3] and that user's id. Returns the value, then
# what TAKE_PLACE returns. A sealed value is JSON, then a signature; none that names a user is long. The script does not check
# the signature: a client of the server that can forge the value can also forge the count.
READ_AND_TAKE_PLACE = f"""
local value = redis.pcall('GET', KEYS[1])
if type(value) ~= 'string' or #value > 4096 then return {{false}} end
local id = string.match(value, '"id":"([%x-]+)"')
if not id then return {{value}} end
local key = ARGV[3] .. id
{_TAKE} return {{value, wait, left}}
"""
GIVE_PLACE_BACK = """
local stored = redis.pcall('GET', KEYS[1])
local free_at = type(stored) == 'string' and tonumber(stored)
if free_at then
  redis.call('SET', KEYS[1], string.format('%.0f', free_at - tonumber(ARGV[1])), 'KEEPTTL')
end
return 0
"""


def place_us(rate: Rate) -> int:
    """Return after how many microseconds a place comes back."""
    return max(1, period_us(rate) // rate.requests)


def period_us(rate: Rate) -> int:
    return rate.period_s * MICROSECONDS


@dataclass(frozen=True, slots=True)
class Count:
    """What became of a request for a place, and how full its key is."""

    rate: Rate
    wait_us: int  # until there is a place. 0: one was taken
    all_free_us: int  # until all places are free

    @property
    def wait_s(self) -> float:
        return self.wait_us / MICROSECONDS

    @property
    def all_free_s(self) -> float:
        return self.all_free_us / MICROSECONDS

    @property
    def places_left(self) -> int:
        return max(0, period_us(self.rate) - self.all_free_us) // place_us(self.rate)


class Meter(Protocol):
    """A cache that counts against rates."""

    def count(self, key: str, rate: Rate, places: int = 1) -> Count:
        """Take this number of places if they are free, or none."""
        ...

    def get_and_count(self, key: str, counted: str, rate: Rate) -> tuple[Any, Count | None]:
        """Return the value of a key. Also count the user whose `id` it holds, if that takes no round trip more.

        It counts under `counted` and that id.
        """
        ...

    def give_place_back(self, key: str, rate: Rate) -> None: ...


class ProcessMeter:
    """Count against rates in this process's memory."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._free_at: dict[str, int] = {}

    def count(self, key: str, rate: Rate, places: int = 1) -> Count:
        place, period = places * place_us(rate), period_us(rate)
        with self._lock:
            now = int(self._clock() * MICROSECONDS)
            free_at = max(now, self._free_at.get(key, 0))
            wait = free_at + place - now - period
            if wait > 0:
                return Count(rate, wait_us=wait, all_free_us=free_at - now)
            if len(self._free_at) >= MOST_KEYS and key not in self._free_at:
                self._make_room(now)
            self._free_at[key] = free_at + place
            return Count(rate, wait_us=0, all_free_us=free_at + place - now)

    def give_place_back(self, key: str, rate: Rate) -> None:
        with self._lock:
            if key in self._free_at:
                self._free_at[key] -= place_us(rate)

    def clear(self) -> None:
        with self._lock:
            self._free_at.clear()

    def _make_room(self, now: int) -> None:
        """Forget the keys whose places are all free. If that is not enough, also forget half of the rest."""
        taken = {key: free_at for key, free_at in self._free_at.items() if free_at > now}
        if len(taken) > MOST_KEYS // 2:
            # Forget those with the most free places, whose counts matter least.
            fullest = sorted(taken, key=taken.__getitem__, reverse=True)[: MOST_KEYS // 2]
            taken = {key: taken[key] for key in fullest}
        self._free_at = taken


# The counts of this process: without a shared cache, while that is away, and for limits that must not depend on it.
process_meter = ProcessMeter()
# Both caches of this project implement Meter: see process_cache and shared_cache.
meter = cast(Meter, cache)
