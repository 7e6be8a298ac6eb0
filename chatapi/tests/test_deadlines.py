"""Deadlines that pass, move, and are forgotten."""

import threading
import time

import pytest

from chatapi import deadlines
from chatapi.deadlines import Deadline
from tests.support.waiting import LIMIT_S, wait_until


def in_s(seconds: float) -> float:
    return time.monotonic() + seconds


def test_a_deadline_that_passes_calls_its_function_once() -> None:
    calls: list[float] = []
    at = in_s(0.05)
    deadline = Deadline(at, lambda: calls.append(time.monotonic()))
    wait_until(lambda: calls, "the deadline passes")
    assert calls[0] >= at
    deadline.expire()
    assert len(calls) == 1


def test_they_pass_in_the_order_of_their_times() -> None:
    passed: list[str] = []
    for name, seconds in (("third", 0.15), ("first", 0.05), ("second", 0.1)):
        Deadline(in_s(seconds), lambda name=name: passed.append(name))  # type: ignore[misc]
    wait_until(lambda: len(passed) == 3, "all have passed")
    assert passed == ["first", "second", "third"]


def test_a_cancelled_one_is_forgotten() -> None:
    passed: list[str] = []
    Deadline(in_s(0.05), lambda: passed.append("cancelled")).cancel()
    Deadline(in_s(0.1), lambda: passed.append("kept"))
    wait_until(lambda: "kept" in passed, "the other has passed")
    assert passed == ["kept"]


def test_a_later_time_counts() -> None:
    passed: list[str] = []
    moved = Deadline(in_s(0.05), lambda: passed.append("moved"))
    moved.move(in_s(0.2))
    Deadline(in_s(0.1), lambda: passed.append("other"))
    wait_until(lambda: len(passed) == 2, "both have passed")
    assert passed == ["other", "moved"]


def test_an_earlier_time_counts() -> None:
    passed = threading.Event()
    Deadline(in_s(3600), passed.set).move(in_s(0.05))
    assert passed.wait(LIMIT_S)


def test_moving_later_makes_no_entries() -> None:
    deadline = Deadline(in_s(3600), lambda: None)
    entries = len(deadlines._watch._queue)
    for seconds in range(3601, 4601):
        deadline.move(in_s(seconds))
    assert len(deadlines._watch._queue) <= entries
    deadline.cancel()


def test_a_function_that_fails_stops_no_other(caplog: pytest.LogCaptureFixture) -> None:
    passed = threading.Event()

    def fail() -> None:
        raise ValueError("broken")

    Deadline(in_s(0.02), fail)
    Deadline(in_s(0.05), passed.set)
    assert passed.wait(LIMIT_S)
    assert "the callback of a deadline failed" in caplog.text


def test_cancelled_ones_do_not_wake_the_watching_thread() -> None:
    for _ in range(100):
        Deadline(in_s(600), lambda: None).cancel()
    passed = threading.Event()
    Deadline(in_s(0.02), passed.set)
    assert passed.wait(LIMIT_S)
    # By then they were at the front, long before their time.
    wait_until(lambda: not any(one.is_over for _, _, one in tuple(deadlines._watch._queue)), "they are forgotten")
