"""Do one thing many times at once."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from .waiting import LIMIT_S

T = TypeVar("T")


def at_once(action: Callable[[int], T], times: int) -> list[T]:
    """Call `action(0)` … `action(times - 1)` in as many threads, started together, and return what they return."""
    start = threading.Barrier(times)

    def call(number: int) -> T:
        start.wait(LIMIT_S)
        return action(number)

    with ThreadPoolExecutor(times) as threads:
        return list(threads.map(call, range(times)))
