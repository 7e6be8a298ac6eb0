"""Database work in many threads at once."""

from collections.abc import Callable
from typing import Any

from django.db import connections

from tests.support.parallel import at_once


def with_own_connections(action: Callable[[int], Any], times: int) -> list[Any]:
    """Call `action(0)` … in as many threads, together; return results and exceptions."""

    def call(number: int) -> Any:
        try:
            return action(number)
        except Exception as failure:
            return failure
        finally:
            connections.close_all()

    return at_once(call, times)
