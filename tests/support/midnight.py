"""A pytest plugin: tests with the mark `one_day` do not run while the day changes."""

from datetime import UTC, datetime, timedelta

import pytest

from .waiting import wait_until

# Longer than such a test takes, also on a busy machine.
LONGEST_TEST = timedelta(seconds=30)


@pytest.hookimpl(tryfirst=True)  # before the transaction of the test begins
def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("one_day"):
        wait_until(lambda: ends_in_one_day(datetime.now(UTC)), "the next day has begun", 2 * LONGEST_TEST.total_seconds())


def ends_in_one_day(start: datetime) -> bool:
    """Whether a test that begins now ends on the same day."""
    return (start + LONGEST_TEST).date() == start.date()
