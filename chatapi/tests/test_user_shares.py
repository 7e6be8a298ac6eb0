"""How many connections of the pool one user's requests hold at once."""

import threading

from chatapi.database.user_shares import UserShares


def test_a_user_gets_a_third_and_others_theirs() -> None:
    shares = UserShares(10)
    assert [shares.take("one", 0) for _ in range(5)] == [True, True, True, False, False]
    assert shares.take("other", 0)
    shares.give_back("one")
    assert shares.take("one", 0)


def test_two_requests_of_a_user_never_wait_for_each_other() -> None:
    shares = UserShares(1)
    assert [shares.take("one", 0) for _ in range(3)] == [True, True, False]


def test_whoever_waits_gets_the_next_place() -> None:
    shares = UserShares(6)
    for _ in range(2):
        assert shares.take("one", 0)
    taken: list[bool] = []
    waiting = threading.Thread(target=lambda: taken.append(shares.take("one", 30)))
    waiting.start()
    shares.give_back("one")
    waiting.join()
    assert taken == [True]


def test_nothing_is_kept_of_users_without_connections() -> None:
    shares = UserShares(6)
    for _ in range(3):
        shares.take("one", 0)
    for _ in range(2):
        shares.give_back("one")
    assert shares._users == {}
