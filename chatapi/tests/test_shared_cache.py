"""The cache that nodes share, on a real Valkey; and what happens without it."""

from collections.abc import Iterator
from typing import Any

import pytest

from chatapi import shared_cache
from chatapi.shared_cache import SharedRedisCache
from tests.support.parallel import at_once
from tests.support.valkey import running_valkey

UNREACHABLE = "redis://127.0.0.1:1/0"


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with running_valkey() as server:
        yield server.connection_url


@pytest.fixture(autouse=True)
def _own_pools(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Leave no connection open behind a test."""
    shared_cache._shared_client.cache_clear()
    opened: list[Any] = []
    make = shared_cache._shared_client

    def note(server: str) -> Any:
        opened.append(make(server))
        return opened[-1]

    monkeypatch.setattr(shared_cache, "_shared_client", note)
    yield
    for client in opened:
        for pool in client._pools.values():
            pool.disconnect()
    make.cache_clear()


@pytest.fixture
def cache(address: str) -> SharedRedisCache:
    cache = SharedRedisCache(address, {})
    cache.clear()
    return cache


def test_values_come_back(cache: SharedRedisCache) -> None:
    cache.set("key", {"id": 7}, 60)
    assert cache.get("key") == {"id": 7}
    assert cache.get("other") is None
    assert cache.get("other", "default") == "default"


def test_values_end(cache: SharedRedisCache) -> None:
    cache.set("lasting", 1, 60)
    cache.set("short", 1, 0.4)
    client = cache._cache.get_client()
    assert 0 < client.ttl(cache.make_key("lasting")) <= 60
    assert cache.get("short") is None


def test_another_node_sees_them(cache: SharedRedisCache, address: str) -> None:
    cache.set("key", "value", 60)
    # Another client, as another process has; the address differs in what makes no difference.
    elsewhere = SharedRedisCache(f"{address}?client_name=elsewhere", {})
    assert elsewhere._cache is not cache._cache
    assert elsewhere.get("key") == "value"


def test_counting_is_atomic(cache: SharedRedisCache) -> None:
    assert cache.add("counter", 0, 60) is True
    assert cache.add("counter", 0, 60) is False
    assert sorted(at_once(lambda _: cache.incr("counter"), 20)) == list(range(1, 21))


def test_counting_what_is_not_there_is_told(cache: SharedRedisCache) -> None:
    with pytest.raises(ValueError):
        cache.incr("nothing")


def test_many_threads_share_one_pool(address: str) -> None:
    def use(number: int) -> Any:
        # Django gives every thread its own backend object.
        own = SharedRedisCache(address, {})
        own.set(f"key-{number}", number, 60)
        return own._cache._get_connection_pool(write=True)

    assert len(set(at_once(use, 16))) == 1


def test_an_unreachable_server_is_an_empty_cache(caplog: pytest.LogCaptureFixture) -> None:
    cache = SharedRedisCache(UNREACHABLE, {})
    cache.set("key", "value", 60)
    assert cache.get("key") is None
    assert cache.get("key", "default") == "default"
    assert cache.add("key", 0, 60) is False
    assert cache.incr("key") == 0
    assert "cache unavailable" in caplog.text


def test_a_server_that_goes_away() -> None:
    with running_valkey() as server:
        cache = SharedRedisCache(server.connection_url, {})
        cache.set("key", "value", 60)
        assert cache.get("key") == "value"
    assert cache.get("key") is None
    assert cache.incr("counter") == 0
