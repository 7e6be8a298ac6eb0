"""How many connections of the pool one user's requests hold at once."""

import threading
from collections.abc import Iterator

import pytest
from django.db import connections

from chatapi.database import base
from chatapi.database.base import DatabaseWrapper
from chatapi.database.user_shares import user_shares
from chatapi.observability.logs import user_id_var
from chatapi.permits import permit as permit_module
from chatapi.permits.permit import Permits
from tests.support.waiting import LIMIT_S, wait_until

POOL_SIZE = 6


@pytest.mark.parametrize(("pool_size", "share"), [(10, 3), (1, 2), (6, 2), (30, 10)])
def test_a_user_gets_a_third_and_never_less_than_two(pool_size: int, share: int) -> None:
    shares = user_shares(pool_size)
    assert [shares.take("one") is not None for _ in range(share + 2)] == [True] * share + [False, False]
    assert shares.take("other") is not None


@pytest.fixture
def shares(monkeypatch: pytest.MonkeyPatch) -> Permits:
    """The shares of a pool, of which `one` has all that a user may have."""
    shares = user_shares(POOL_SIZE)
    monkeypatch.setattr(base, "_shares_of", lambda size: shares)
    monkeypatch.setattr(permit_module, "BRIEF_WAIT_S", LIMIT_S)
    for _ in range(2):
        assert shares.take("one")
    return shares


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which users gave their places to others because they had to wait for a connection."""
    told: list[str] = []
    monkeypatch.setattr(base, "tell_before_waiting", lambda: told.append(user_id_var.get()))
    return told


@pytest.fixture
def another_of_one(shares: Permits) -> Iterator[threading.Thread]:
    """A request of `one` that waits for a connection."""

    def ask() -> None:
        user_id_var.set("one")
        connection: DatabaseWrapper = connections["default"].copy(alias="shares")  # type: ignore[assignment]
        connection.settings_dict["OPTIONS"] = {"pool": {"max_size": POOL_SIZE, "timeout": LIMIT_S}}
        connection._take_share()
        connection._give_share_back()

    thread = threading.Thread(target=ask)
    yield thread
    for permit in shares.held():
        permit.release()
    thread.join(LIMIT_S)
    assert not thread.is_alive()
    assert shares.in_all == 0


def test_a_request_beyond_the_share_lets_others_have_what_is_free(
    shares: Permits, told: list[str], another_of_one: threading.Thread
) -> None:
    another_of_one.start()
    wait_until(lambda: shares.waiting("one") == 1, "it waits")
    assert told == ["one"]


def test_where_nothing_is_free_it_keeps_its_place(shares: Permits, told: list[str], another_of_one: threading.Thread) -> None:
    for user in ("two", "three"):
        assert shares.take(user)
        assert shares.take(user)
    another_of_one.start()
    wait_until(lambda: shares.waiting("one") == 1, "it waits")
    assert told == []
