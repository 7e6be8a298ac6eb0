"""Wait for a condition, with a limit."""

import time
from collections.abc import Callable
from typing import TypeVar

LIMIT_S = 30.0

T = TypeVar("T")


def wait_until(condition: Callable[[], T], what: str, limit_s: float = LIMIT_S) -> T:
    """Return the first true value of `condition`. After `limit_s`, fail with a message that contains `what`."""
    deadline = time.monotonic() + limit_s
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {limit_s:.0f} s: {what}")
        time.sleep(0.01)
    return value
