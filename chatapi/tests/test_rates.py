"""Counting against a rate in one process. Redis and Valkey do the same: see test_shared_cache.py."""

import pytest

from chatapi.cache import rates
from chatapi.cache.rates import ProcessMeter
from chatapi.environment import Rate
from tests.support.parallel import at_once

A_MINUTE = Rate(60, 60)


class Clock:
    now = 6_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def meter(clock: Clock) -> ProcessMeter:
    return ProcessMeter(clock)


def admitted(meter: ProcessMeter, times: int, rate: Rate = A_MINUTE, key: str = "key") -> int:
    return sum(meter.count(key, rate).wait_s == 0 for _ in range(times))


def test_a_whole_period_s_places_at_once(meter: ProcessMeter) -> None:
    assert admitted(meter, 100) == 60


def test_there_is_no_edge_at_which_twice_as_many_pass(meter: ProcessMeter, clock: Clock) -> None:
    """With fixed windows, 120 of these would pass within 9 s."""
    clock.now += 55
    passed = admitted(meter, 60)
    clock.now += 9
    assert passed + admitted(meter, 60) == 69


def test_places_come_back_evenly(meter: ProcessMeter, clock: Clock) -> None:
    assert admitted(meter, 60) == 60
    for _ in range(5):
        clock.now += 1
        assert admitted(meter, 5) == 1
    clock.now += 60
    assert admitted(meter, 100) == 60


def test_a_refusal_says_when_to_come_again(meter: ProcessMeter, clock: Clock) -> None:
    rate = Rate(2, 60)
    assert admitted(meter, 2, rate) == 2
    clock.now += 10
    assert meter.count("key", rate).wait_s == pytest.approx(20)
    clock.now += 20
    assert meter.count("key", rate).wait_s == 0


def test_who_hammers_on_gets_what_the_rate_allows(meter: ProcessMeter, clock: Clock) -> None:
    admitted(meter, 60)
    passed = 0
    for _ in range(600):
        clock.now += 0.1
        passed += admitted(meter, 1)
    assert 59 <= passed <= 60


@pytest.mark.parametrize("rate", [Rate(7, 60), Rate(1, 1), Rate(999_999_999, 1), Rate(1, 86400), Rate(600, 60)])
def test_exactly_as_many_as_the_rate_says(meter: ProcessMeter, rate: Rate) -> None:
    wanted = min(rate.requests, 1000)
    assert admitted(meter, wanted, rate) == wanted
    if wanted == rate.requests:
        assert admitted(meter, 1, rate) == 0


def test_keys_do_not_count_for_each_other(meter: ProcessMeter) -> None:
    assert [admitted(meter, 2, Rate(1, 60), key) for key in ("a", "b")] == [1, 1]


def test_a_place_that_is_given_back_is_free(meter: ProcessMeter) -> None:
    rate = Rate(2, 60)
    assert admitted(meter, 3, rate) == 2
    meter.give_place_back("key", rate)
    assert admitted(meter, 3, rate) == 1
    meter.give_place_back("unknown", rate)


def test_several_places_are_taken_together_or_not_at_all(meter: ProcessMeter, clock: Clock) -> None:
    assert meter.count("key", A_MINUTE, 50).places_left == 10
    assert meter.count("key", A_MINUTE, 20).wait_s == pytest.approx(10)
    assert admitted(meter, 20) == 10
    clock.now += 20
    assert meter.count("key", A_MINUTE, 20).wait_us == 0


def test_threads_lose_no_count(meter: ProcessMeter) -> None:
    assert sum(at_once(lambda _: admitted(meter, 5, Rate(7, 60)), 20)) == 7


def test_memory_is_bounded_and_the_fullest_keys_are_kept(
    meter: ProcessMeter, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rates, "MOST_KEYS", 100)
    assert admitted(meter, 60, key="full") == 60
    for number in range(1000):
        meter.count(f"key-{number}", A_MINUTE)
        assert len(meter._free_at) <= 100
    assert admitted(meter, 1, key="full") == 0
    clock.now += 60
    for number in range(100):
        meter.count(f"later-{number}", A_MINUTE)
    assert "full" not in meter._free_at
