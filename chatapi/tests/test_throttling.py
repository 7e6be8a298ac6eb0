"""So many requests per user and period."""

from collections.abc import Callable
from typing import Any

import pytest
from django.core.cache import cache
from pytest_django.fixtures import Settings
from rest_framework.request import Request
from rest_framework.test import APIRequestFactory

from chatapi import throttling
from chatapi.environment import Rate
from chatapi.tests.clients import UserClient
from chatapi.throttling import ReadThrottle, SendThrottle
from tests.support.parallel import at_once

ADDRESS = "/api/conversations"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A clock that a test sets; windows of a minute begin at 0."""

    class Clock:
        now = 6_000_000.0

        def time(self) -> float:
            return self.now

    chosen = Clock()
    monkeypatch.setattr(throttling, "time", chosen)
    return chosen


def test_the_request_over_the_limit_is_a_429(user: UserClient, settings: Settings, clock: Any) -> None:
    settings.THROTTLE_READ = Rate(2, 60)
    clock.now += 17.5
    assert [user.get(ADDRESS).status_code for _ in range(3)] == [200, 200, 429]
    refused = user.get(ADDRESS)
    assert refused.json()["code"] == "throttled"
    assert refused["Retry-After"] == "43"


def test_the_next_window_is_free_again(user: UserClient, settings: Settings, clock: Any) -> None:
    settings.THROTTLE_READ = Rate(1, 60)
    assert [user.get(ADDRESS).status_code for _ in range(2)] == [200, 429]
    clock.now += 60
    assert user.get(ADDRESS).status_code == 200


def test_users_do_not_count_for_each_other(user: UserClient, stranger: UserClient, settings: Settings, clock: Any) -> None:
    settings.THROTTLE_READ = Rate(1, 60)
    assert [client.get(ADDRESS).status_code for client in (user, user, stranger)] == [200, 429, 200]


def test_sends_and_reads_are_counted_apart(user: UserClient, settings: Settings, clock: Any) -> None:
    settings.THROTTLE_READ, settings.THROTTLE_SEND = Rate(2, 60), Rate(1, 60)
    conversation = user.post(ADDRESS).json()["id"]
    messages = f"{ADDRESS}/{conversation}/messages"
    # Counted before they are read, so that nonsense is limited as well.
    assert [user.post(messages, {}).status_code for _ in range(2)] == [400, 429]
    assert user.post(f"{ADDRESS}/{conversation}/regenerate", {}).status_code == 429
    assert user.get(messages).status_code == 200
    assert user.get(messages).status_code == 429


def test_no_rate_no_limit(user: UserClient, settings: Settings) -> None:
    settings.THROTTLE_READ = None
    assert {user.get(ADDRESS).status_code for _ in range(5)} == {200}


def test_health_is_never_throttled(anonymous: UserClient, settings: Settings) -> None:
    settings.THROTTLE_READ = Rate(1, 60)
    assert {anonymous.get("/api/health").status_code for _ in range(3)} == {200}


def _request(address: str) -> Request:
    request = Request(APIRequestFactory().get("/", REMOTE_ADDR=address))
    request.user = None
    return request


def test_callers_without_a_user_are_told_apart_by_address(settings: Settings, clock: Any) -> None:
    settings.THROTTLE_READ = Rate(1, 60)
    requests = [_request(address) for address in ("10.0.0.1", "10.0.0.1", "10.0.0.2")]
    assert [ReadThrottle().allow_request(request, None) for request in requests] == [True, False, True]


def test_an_address_cannot_be_invented(settings: Settings, clock: Any) -> None:
    settings.THROTTLE_READ = Rate(1, 60)
    allowed = []
    for forged in ("1.1.1.1", "2.2.2.2"):
        request = _request("10.0.0.1")
        request.META["HTTP_X_FORWARDED_FOR"] = forged
        allowed.append(ReadThrottle().allow_request(request, None))
    assert allowed == [True, False]


def test_requests_at_once_are_all_counted(settings: Settings, clock: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.THROTTLE_SEND = Rate(7, 60)

    class AtomicCache:
        """Only the operations that can't lose a count: reading and writing apart could."""

        add = staticmethod(cache.add)
        incr = staticmethod(cache.incr)

    monkeypatch.setattr(throttling, "cache", AtomicCache)
    allowed = at_once(lambda _: SendThrottle().allow_request(_request("10.0.0.1"), None), 20)
    assert sum(allowed) == 7


def test_a_counter_that_was_evicted_lets_the_request_pass(
    settings: Settings, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.THROTTLE_READ = Rate(1, 60)

    class ForgetfulCache:
        incr: Callable[..., int] = staticmethod(cache.incr)

        @staticmethod
        def add(*_: Any) -> None:
            """Keep nothing."""

    monkeypatch.setattr(throttling, "cache", ForgetfulCache)
    assert ReadThrottle().allow_request(_request("10.0.0.1"), None) is True
