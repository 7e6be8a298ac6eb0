"""Marks of recent writes, on a real Valkey: who must read from the primary, and what happens when marks are lost."""

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser
from django.http import HttpResponse
from django.test import RequestFactory

from chatapi.cache import shared_cache
from chatapi.cache.shared_cache import SharedRedisCache
from chatapi.database import recent_writes
from chatapi.database.recent_writes import (
    SLOW_S,
    SlowWritesMiddleware,
    has_written,
    make_up_for_lost_marks,
    note_write,
    pause_replica_reads,
)
from tests.support.redis import MISSING, find_redis, running_redis
from tests.support.valkey import running_valkey

UNREACHABLE = "redis://127.0.0.1:1/0"
REQUESTS = RequestFactory()


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with running_valkey() as server:
        yield server.connection_url


@pytest.fixture
def cache(address: str) -> Iterator[SharedRedisCache]:
    cache = SharedRedisCache(address, {})
    cache.clear()
    yield cache
    cache.client.connection_pool.disconnect()
    shared_cache._shared_server.cache_clear()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(autouse=True)
def _replica(cache: SharedRedisCache, clock: Clock, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is a replica, and the cache has its marks since long ago."""
    settings.DATABASE_REPLICA = {}
    monkeypatch.setattr(recent_writes, "marks", cache)
    monkeypatch.setattr(recent_writes, "time", clock)
    monkeypatch.setattr(recent_writes, "_unmarked_at", None)
    cache.marked(recent_writes.ALIVE)
    cache.mark(recent_writes.ALIVE, None)


@pytest.fixture
def lose_cache(cache: SharedRedisCache, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Take the cache away from this process, and from no other."""
    away = SharedRedisCache(UNREACHABLE, {})
    return lambda: monkeypatch.setattr(recent_writes, "marks", away)


def keys(cache: SharedRedisCache) -> set[str]:
    return {name.decode() for name in cache.client.scan_iter()}


@pytest.mark.parametrize("method", ["post", "put", "patch", "delete"])
def test_a_request_that_may_change_something_marks_its_user(method: str) -> None:
    note_write(getattr(REQUESTS, method)("/api/conversations"), "user-1")
    assert has_written("user-1")
    assert not has_written("user-2")


def test_a_request_that_only_reads_sets_no_mark() -> None:
    note_write(REQUESTS.get("/api/conversations"), "user-1")
    assert not has_written("user-1")


def test_a_mark_lasts_longer_than_a_write_and_the_lag(cache: SharedRedisCache, settings: Any) -> None:
    settings.DATABASE_REPLICA_MAX_LAG = 7.5
    note_write(REQUESTS.post("/"), "user-1")
    assert 27 <= cache.client.ttl(":1:replica:written:user-1") <= 28


def test_without_a_replica_the_cache_is_not_used(cache: SharedRedisCache, settings: Any) -> None:
    settings.DATABASE_REPLICA = None
    before = keys(cache)
    note_write(REQUESTS.post("/"), "user-1")
    pause_replica_reads()
    assert keys(cache) == before


@pytest.mark.parametrize(("takes_s", "is_slow"), [(SLOW_S - 1, False), (SLOW_S + 1, True)])
def test_a_slow_request_is_marked_again_at_its_end(
    cache: SharedRedisCache, clock: Clock, takes_s: float, is_slow: bool
) -> None:
    def view(request: Any) -> HttpResponse:
        note_write(request, "user-1")
        clock.now += takes_s
        cache.delete("replica:written:user-1")
        return HttpResponse()

    SlowWritesMiddleware(view)(REQUESTS.post("/api/conversations"))
    assert has_written("user-1") == is_slow


def test_staff_who_change_something_are_marked() -> None:
    request = REQUESTS.post("/admin/conversations/conversation/")
    request.user = SimpleNamespace(pk=7, is_authenticated=True)
    SlowWritesMiddleware(lambda request: HttpResponse())(request)
    assert has_written("staff-7")


def test_a_sign_in_sets_no_mark(cache: SharedRedisCache) -> None:
    request = REQUESTS.post("/admin/login/")
    request.user = AnonymousUser()
    before = keys(cache)
    SlowWritesMiddleware(lambda request: HttpResponse())(request)
    assert keys(cache) == before


@pytest.mark.skipif(find_redis() is None, reason=MISSING)
def test_a_cache_that_comes_back_with_an_older_snapshot_sends_everyone_to_the_primary(monkeypatch: pytest.MonkeyPatch) -> None:
    with running_redis() as first:
        cache = SharedRedisCache(first.address, {})
        monkeypatch.setattr(recent_writes, "marks", cache)
        assert has_written("user-1")
        cache.delete(recent_writes.PAUSE)
        assert not has_written("user-1")
        cache.client.save()
        note_write(REQUESTS.post("/"), "user-1")
        first.crash()
        first.start()
        # The snapshot has the sign of life, and not the mark.
        assert cache.client.exists(f":1:{recent_writes.ALIVE}")
        assert has_written("user-1")
        assert has_written("user-1")
        cache.delete(recent_writes.PAUSE)
        assert not has_written("user-1")
        cache.client.connection_pool.disconnect()


def test_an_emptied_cache_sends_everyone_to_the_primary_for_a_while(cache: SharedRedisCache) -> None:
    cache.clear()
    assert has_written("user-1")
    assert has_written("user-1")
    cache.delete(recent_writes.PAUSE)
    assert not has_written("user-1")


@pytest.mark.usefixtures("cache")
def test_without_the_cache_everyone_reads_from_the_primary(lose_cache: Callable[[], None]) -> None:
    lose_cache()
    assert has_written("user-1")


def test_a_mark_that_could_not_be_set_sends_everyone_to_the_primary_later(
    cache: SharedRedisCache, lose_cache: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    lose_cache()
    note_write(REQUESTS.post("/"), "user-1")
    make_up_for_lost_marks()
    monkeypatch.setattr(recent_writes, "marks", cache)
    assert not has_written("user-1")
    make_up_for_lost_marks()
    assert has_written("user-1")
    assert has_written("user-2")


def test_a_lost_mark_is_forgotten_when_its_write_is_old(
    cache: SharedRedisCache, clock: Clock, lose_cache: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    lose_cache()
    note_write(REQUESTS.post("/"), "user-1")
    clock.now += 3600
    monkeypatch.setattr(recent_writes, "marks", cache)
    make_up_for_lost_marks()
    assert not has_written("user-2")


def test_a_write_of_an_unknown_user_sends_everyone_to_the_primary() -> None:
    pause_replica_reads()
    assert has_written("user-1")
