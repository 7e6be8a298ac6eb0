"""Wait for a condition, with a limit: the only way in which these tests wait."""

import time
from collections.abc import Callable
from typing import TypeVar

LIMIT_S = 30.0

T = TypeVar("T")


def wait_until(condition: Callable[[], T], what: str, limit_s: float = LIMIT_S) -> T:
    """Return the first true value of `condition`, or fail saying `what` was waited for."""
    deadline = time.monotonic() + limit_s
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {limit_s:.0f} s in vain until {what}")
        time.sleep(0.01)
    return value
