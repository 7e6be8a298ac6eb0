"""Limits on what is done at once."""

import threading
from typing import Any

import pytest

from chatapi.permits import permit as permit_module
from chatapi.permits.limit import LIMITS, Limit
from chatapi.permits.permit import Permit, Permits
from chatapi.permits.shares import at_most, fair_share
from chatapi.service_error import ServiceError
from tests.support.waiting import LIMIT_S, wait_until


class Full(ServiceError):
    code = "full"
    status = 429


LIMIT = Limit(what="things of this test", per="key", refusal=Full, retry_after_s=7)
# It is no limit of the service.
del LIMITS[LIMIT.what]


def take(permits: Permits, key: str, count: int = 1) -> Permit:
    permit = permits.take(key, count)
    assert permit is not None
    return permit


def start_waiting(permits: Permits, key: str, done: list[str], name: str = "") -> threading.Thread:
    def wait() -> None:
        with permits.acquire(key, wait_s=LIMIT_S):
            done.append(name or key)

    before = permits.waiting(key)
    thread = threading.Thread(target=wait)
    thread.start()
    wait_until(lambda: permits.waiting(key) > before, f"{name or key} waits")
    return thread


def test_a_key_has_so_many_and_others_have_theirs() -> None:
    permits = Permits(LIMIT, at_most(2))
    held = [take(permits, "one"), take(permits, "one"), take(permits, "other")]
    assert permits.take("one") is None
    held[0].release()
    held[0].release()
    assert permits.take("one") is not None
    assert permits.take("one") is None


def test_the_refusal_is_the_limit_s() -> None:
    permits = Permits(LIMIT, at_most(1))
    permits.refuse_without_room("key")
    with permits.acquire("key"):
        for ask in (permits.acquire, permits.refuse_without_room):
            with pytest.raises(Full) as refused:
                ask("key")
            assert refused.value.retry_after_s == 7
    assert permits.held() == []


def test_one_holder_ends_at_a_third() -> None:
    permits = Permits(LIMIT, fair_share(15))
    assert [permits.take("greedy") is not None for _ in range(6)] == [True] * 5 + [False]
    assert permits.take("other")


def test_everyone_gets_the_least_while_there_is_any() -> None:
    permits = Permits(LIMIT, fair_share(4))
    assert [permits.take(str(number)) is not None for number in range(5)] == [True] * 4 + [False]


def test_a_permit_may_stand_for_several_and_be_given_back_in_part() -> None:
    permits = Permits(LIMIT, fair_share(100, least=60))
    first = take(permits, "a", 60)
    assert permits.take("b", 60) is None
    first.shrink(40)
    assert (first.count, permits.take("b", 60) is not None) == (40, True)
    first.release()
    assert [permit.key for permit in permits.held()] == ["b"]


def test_those_who_wait_get_theirs_in_the_order_of_arrival() -> None:
    permits = Permits(LIMIT, at_most(1))
    done: list[str] = []
    first = take(permits, "key")
    waiting = [start_waiting(permits, "key", done, str(number)) for number in range(5)]
    assert permits.does_any_wait()
    first.release()
    for thread in waiting:
        thread.join(LIMIT_S)
    assert done == [str(number) for number in range(5)]
    assert (permits.held(), permits.does_any_wait(), permits.waiting("key")) == ([], False, 0)


def test_one_who_waits_for_a_full_key_keeps_no_other_waiting() -> None:
    permits = Permits(LIMIT, at_most(1))
    done: list[str] = []
    full, other = take(permits, "full"), take(permits, "other")
    waiting = [start_waiting(permits, key, done) for key in ("full", "other")]
    other.release()
    waiting[1].join(LIMIT_S)
    assert done == ["other"]
    full.release()
    waiting[0].join(LIMIT_S)


def test_waiting_ends() -> None:
    permits = Permits(LIMIT, at_most(1))
    with permits.acquire("key"):
        assert permits.take("key", wait_s=0.01) is None
        assert not permits.does_any_wait()
    assert permits.take("key") is not None


def start_telling(permits: Permits, told: list[str], name: str) -> threading.Thread:
    """Wait for a permit in another thread, which notes when the wait becomes long."""

    def wait() -> None:
        permit = permits.take("key", wait_s=LIMIT_S, before_long_wait=lambda: told.append(name))
        assert permit is not None
        permit.release()

    before = permits.waiting("key")
    thread = threading.Thread(target=wait)
    thread.start()
    wait_until(lambda: permits.waiting("key") > before, f"{name} waits")
    return thread


def test_a_line_that_advances_is_told_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(permit_module, "BRIEF_WAIT_S", LIMIT_S)
    permits, told = Permits(LIMIT, at_most(1)), list[str]()
    with take(permits, "key"):
        threads = [start_telling(permits, told, name) for name in ("first", "second")]
    for thread in threads:
        thread.join(LIMIT_S)
    assert (told, permits.held()) == ([], [])


def test_everyone_behind_one_who_waits_for_long_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(permit_module, "BRIEF_WAIT_S", 0.01)
    permits, told = Permits(LIMIT, at_most(1)), list[str]()
    with take(permits, "key"):
        threads = [start_telling(permits, told, "first")]
        wait_until(lambda: told == ["first"], "the first has waited for long")
        threads.append(start_telling(permits, told, "second"))
        wait_until(lambda: told == ["first", "second"], "the second is told as well")
    for thread in threads:
        thread.join(LIMIT_S)
    assert permits.held() == []


def test_a_wait_that_is_broken_off_keeps_no_permit(monkeypatch: pytest.MonkeyPatch) -> None:
    permits = Permits(LIMIT, at_most(1))
    first = take(permits, "key")

    def break_off(event: Any, timeout: float) -> None:
        # The permit comes at the same moment.
        first.release()
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Event, "wait", break_off)
    with pytest.raises(KeyboardInterrupt):
        permits.take("key", wait_s=1)
    assert permits.held() == []


def test_a_full_key_loses_the_permits_of_holders_that_are_gone() -> None:
    permits = Permits(LIMIT, at_most(2))
    is_there = [True]
    permits.take("key", is_present=lambda: is_there[0])
    permits.take("key")
    assert permits.take("key") is None
    is_there[0] = False
    assert permits.take("key") is not None
    assert permits.take("key") is None


def test_those_that_are_gone_are_dropped_for_those_who_wait() -> None:
    permits = Permits(LIMIT, at_most(1))
    done: list[str] = []
    is_there = [True]
    permits.take("key", is_present=lambda: is_there[0])
    waiting = start_waiting(permits, "key", done)
    is_there[0] = False
    permits.drop_absent()
    waiting.join(LIMIT_S)
    assert done == ["key"]


def test_what_is_held_beyond_the_limit_counts() -> None:
    permits = Permits(LIMIT, at_most(1))
    first, second = permits.hold("key"), permits.hold("key")
    first.release()
    assert permits.take("key") is None
    second.release()
    assert permits.take("key") is not None
