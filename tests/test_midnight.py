"""Tests that count per day keep clear of the end of the day."""

from datetime import UTC, datetime

import pytest

from tests.support.midnight import ends_in_one_day


@pytest.mark.parametrize(("time", "ends_on_that_day"), [((0, 0, 0), True), ((23, 59, 20), True), ((23, 59, 40), False)])
def test_a_test_begins_only_if_it_ends_on_the_same_day(time: tuple[int, int, int], ends_on_that_day: bool) -> None:
    assert ends_in_one_day(datetime(2026, 11, 30, *time, tzinfo=UTC)) == ends_on_that_day
