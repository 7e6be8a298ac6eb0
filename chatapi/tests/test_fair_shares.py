"""What a worker has little of is divided among addresses."""

import threading

from chatapi.incoming.fair_shares import FairShares


def test_one_holder_ends_at_a_third() -> None:
    shares = FairShares(15)
    assert [shares.take("greedy") for _ in range(6)] == [True] * 5 + [False]
    assert shares.take("other")


def test_everyone_gets_the_least_while_there_is_any() -> None:
    shares = FairShares(4)
    assert [shares.take(str(number)) for number in range(5)] == [True] * 4 + [False]


def test_what_is_given_back_is_free_and_nothing_of_its_holder_stays() -> None:
    shares = FairShares(100, least=60)
    assert shares.take("a", 60)
    assert not shares.take("b", 60)
    shares.give_back("a", 60)
    assert shares.take("b", 60)
    assert list(shares._held) == ["b"]


def test_whoever_waits_gets_what_others_are_made_to_give_back() -> None:
    shares = FairShares(1)
    assert shares.take("slow")
    assert shares.take_in_time("waiting", 30, lambda: shares.give_back("slow"))


def test_waiting_ends() -> None:
    shares = FairShares(1)
    assert shares.take("slow")
    asked = threading.Event()
    assert not shares.take_in_time("waiting", 0, asked.set)
    assert asked.is_set()
