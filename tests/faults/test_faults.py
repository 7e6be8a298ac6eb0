"""The short form of `make faults`: every kind of fault once, each at another step of a turn."""

from collections.abc import Iterator

import pytest

from .run import Suite, running_suite
from .schedules import COMBINATIONS, FAULTS, KINDS, make_schedule

pytestmark = pytest.mark.slow
# Seeds go through the faults round by round.
FIRST_ROUND = range(len(FAULTS))
# One fault of each victim.
SHORT = {next(seed for seed in FIRST_ROUND if COMBINATIONS[seed][1] == victim) for victim in KINDS}


@pytest.fixture(scope="module")
def suite() -> Iterator[Suite]:
    with running_suite() as running:
        yield running


@pytest.mark.parametrize(
    "seed", [pytest.param(seed, marks=() if seed in SHORT else pytest.mark.exhaustive) for seed in FIRST_ROUND]
)
def test_the_promise_holds(suite: Suite, seed: int) -> None:
    assert suite.play(seed) == [], f"{make_schedule(seed).describe()}; alone: make faults SEED={seed}"


def test_a_seed_always_makes_the_same_schedule() -> None:
    assert make_schedule(7) == make_schedule(7)


def test_each_round_has_every_fault_once() -> None:
    for first in range(0, len(COMBINATIONS), len(FAULTS)):
        in_this_round = [(victim, kind) for _, victim, kind in COMBINATIONS[first : first + len(FAULTS)]]
        assert sorted(in_this_round) == sorted(FAULTS)


def test_seeds_in_a_row_go_through_every_fault_at_every_step() -> None:
    first = (make_schedule(seed).faults[0] for seed in range(len(COMBINATIONS)))
    assert {(fault.point, fault.victim, fault.kind) for fault in first} == set(COMBINATIONS)
