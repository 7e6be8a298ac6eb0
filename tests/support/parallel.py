"""Call a function many times at once."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from .waiting import LIMIT_S

T = TypeVar("T")


def at_once(action: Callable[[int], T], times: int) -> list[T]:
    """Call `action(0)` … `action(times - 1)` each in its own thread, all at once. Return their results."""
    start = threading.Barrier(times)

    def call(number: int) -> T:
        start.wait(LIMIT_S)
        return action(number)

    with ThreadPoolExecutor(times) as threads:
        return list(threads.map(call, range(times)))
