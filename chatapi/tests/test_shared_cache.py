"""The cache that nodes share, on a real Valkey; and what happens without it."""

import contextlib
import pickle
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from redis.exceptions import RedisError

from chatapi.cache import sealed_values, shared_cache
from chatapi.cache.rates import process_meter
from chatapi.cache.sealed_values import seal
from chatapi.cache.shared_cache import Breaker, SharedRedisCache
from chatapi.environment import Rate
from tests.support.parallel import at_once
from tests.support.redis import MISSING, find_redis, running_redis
from tests.support.valkey import running_valkey

UNREACHABLE = "redis://127.0.0.1:1/0"
OPERATING = Path(__file__).resolve().parents[2] / "docs" / "operating.md"


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with running_valkey() as server:
        yield server.connection_url


@pytest.fixture(autouse=True)
def _own_pools(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Leave no connection open behind a test."""
    shared_cache._shared_server.cache_clear()
    opened: list[Any] = []
    make = shared_cache._shared_server

    def note(address: str) -> Any:
        opened.append(make(address))
        return opened[-1]

    monkeypatch.setattr(shared_cache, "_shared_server", note)
    process_meter.clear()
    yield
    for server in opened:
        server.client.connection_pool.disconnect()
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
    cache.set("ended", 1, -1)
    client = cache.client
    assert 0 < client.ttl(cache.make_key("lasting")) <= 60
    assert cache.get("ended") is None


def test_another_node_sees_them(cache: SharedRedisCache, address: str) -> None:
    cache.set("key", "value", 60)
    # Another client, as another process has; the address differs in what makes no difference.
    elsewhere = SharedRedisCache(f"{address}?client_name=elsewhere", {})
    assert elsewhere.client is not cache.client
    assert elsewhere.get("key") == "value"


def test_many_threads_share_one_pool(address: str) -> None:
    def use(number: int) -> Any:
        # Django gives every thread its own backend object.
        own = SharedRedisCache(address, {})
        own.set(f"key-{number}", number, 60)
        return own.client.connection_pool

    assert len(set(at_once(use, 16))) == 1


def test_an_unreachable_server_is_an_empty_cache(caplog: pytest.LogCaptureFixture) -> None:
    cache = SharedRedisCache(UNREACHABLE, {})
    cache.set("key", "value", 60)
    assert cache.get("key") is None
    assert cache.get("key", "default") == "default"
    assert "cache unavailable" in caplog.text


# --- A server that is away ---------------------------------------------------------------------------------------------------


@pytest.fixture
def silent() -> Iterator[str]:
    """A server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"redis://127.0.0.1:{listener.getsockname()[1]}/0"


def count_connections(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Note every attempt to connect from here on."""
    attempts: list[Any] = []
    connect = socket.socket.connect

    def note(self: socket.socket, address: Any) -> None:
        attempts.append(address)
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", note)
    return attempts


def test_a_server_that_never_answers_is_asked_once_and_then_left_alone(silent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_cache, "TIMEOUT_S", 0.2)
    cache = SharedRedisCache(silent, {})
    attempts = count_connections(monkeypatch)
    assert cache.get("key") is None
    asked = len(attempts)
    assert asked >= 1
    cache.set("key", "value", 60)
    assert cache.get("key", "default") == "default"
    assert cache.delete("key") is False
    assert len(attempts) == asked


def test_after_a_pause_one_call_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(shared_cache, "time", SimpleNamespace(monotonic=lambda: now))
    breaker = Breaker(pause_s=5)
    assert breaker.may_call()
    breaker.note_failure()
    now += 4.9
    assert not breaker.may_call()
    now += 0.2
    assert [breaker.may_call() for _ in range(3)] == [True, False, False]
    breaker.note_success()
    assert [breaker.may_call() for _ in range(3)] == [True, True, True]


def test_of_many_threads_one_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    breaker = Breaker(pause_s=0.05)
    breaker.note_failure()
    threading.Event().wait(0.06)
    monkeypatch.setattr(breaker, "_pause_s", 60)
    assert sum(at_once(lambda _: breaker.may_call(), 16)) == 1


def test_requests_are_counted_here_while_the_server_is_away() -> None:
    cache = SharedRedisCache(UNREACHABLE, {})
    waits = [cache.count("key", Rate(2, 60)).wait_s for _ in range(3)]
    assert waits[:2] == [0, 0]
    assert waits[2] > 0
    cache.give_place_back("key", Rate(2, 60))
    assert cache.count("key", Rate(2, 60)).wait_s == 0


def test_a_connection_that_is_closed_just_as_it_is_used_is_not_a_server_that_is_away(
    cache: SharedRedisCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.set("key", "value", 60)
    # The pool looks at a connection before it hands it out; this one is closed after that look.
    monkeypatch.setattr("redis.connection.Connection.can_read", lambda *_, **__: False)
    cache.client.execute_command("CLIENT", "KILL", "SKIPME", "no", "TYPE", "normal")
    assert cache.get("key") == "value"


def test_a_server_that_goes_away() -> None:
    with running_valkey() as server:
        cache = SharedRedisCache(server.connection_url, {})
        cache.set("key", "value", 60)
        assert cache.get("key") == "value"
    assert cache.get("key") is None


def test_deleting_says_when_the_server_is_away() -> None:
    cache = SharedRedisCache(UNREACHABLE, {})
    assert cache.get("key") is None
    with pytest.raises(RedisError):
        cache.delete_matching("key", lambda _: True)


# --- Others write to it ------------------------------------------------------------------------------------------------------


went_off: list[bool] = []


def explode() -> None:
    went_off.append(True)


class Bomb:
    """Whoever unpickles this runs code of its maker's choice."""

    def __reduce__(self) -> Any:
        return explode, ()


READERS: dict[str, Callable[[SharedRedisCache], Any]] = {
    "get": lambda cache: cache.get("key"),
    "get_many": lambda cache: cache.get_many(["key"]).get("key"),
    "has_key": lambda cache: cache.has_key("key") or None,
    "in": lambda cache: "key" in cache or None,
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    "forged",
    [
        pickle.dumps(Bomb()),
        b"\x00" * 32 + pickle.dumps(Bomb()),
        b'[null,{"id":"6d0c1a54-1f0b-4a43-9d0d-0c1d7f5f1a11","is_admin":true}]',
        b"\x00" * 32 + b'[null,{"is_admin":true}]',
        b"",
        b"short",
        b"9" * 5000,
    ],
    ids=["pickle", "pickle behind a MAC", "JSON", "JSON behind a MAC", "nothing", "short", "a long number"],
)
def test_what_others_wrote_is_absent(cache: SharedRedisCache, reader: str, forged: bytes) -> None:
    cache.client.set(cache.make_key("key"), forged)
    assert READERS[reader](cache) is None
    assert went_off == []


def test_a_value_of_another_type_is_absent(cache: SharedRedisCache) -> None:
    client = cache.client
    for key in ("key", "throttle"):
        client.rpush(cache.make_key(key), b"an element")
    assert cache.get("key") is None
    cache.set("key", "value", 60)
    assert cache.get("key") == "value"
    assert [cache.count("throttle", Rate(1, 3600)).wait_s > 0 for _ in range(2)] == [False, True]


def test_deleting_goes_by_what_is_ours(cache: SharedRedisCache) -> None:
    for number in range(5):
        cache.set(f"auth:{number}", {"id": number % 2}, 60)
    client = cache.client
    for name in (b":1:auth:\xff\xfe", b":1:auth:forged"):
        client.set(name, b'{"id": 1}')
    client.rpush(":1:other", "untouched")
    assert cache.delete_matching("auth:", lambda value: isinstance(value, dict) and value["id"] == 1) == 2
    assert [cache.get(f"auth:{number}") is None for number in range(5)] == [False, True, False, True, False]


def test_a_value_cannot_be_moved_or_put_back(cache: SharedRedisCache, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.set("mine", {"is_admin": True}, 60)
    client = cache.client
    stored = client.get(cache.make_key("mine"))
    client.set(cache.make_key("yours"), stored)
    client.set(cache.make_key("mine", version=2), stored)
    assert cache.get("yours") is None
    assert cache.get("mine", version=2) is None
    # Without the server's own expiry, as somebody who has kept it would write it.
    client.set(cache.make_key("mine"), stored)
    assert cache.get("mine") == {"is_admin": True}
    later = time.time() + 61
    monkeypatch.setattr(sealed_values, "time", SimpleNamespace(time=lambda: later))
    assert cache.get("mine") is None


def test_another_secret_reads_nothing(cache: SharedRedisCache, settings: Any) -> None:
    cache.set("key", "value", 60)
    settings.SECRET_KEY = "another secret, as long as the first one was"
    assert cache.get("key") is None


def test_what_json_cannot_say_is_refused(cache: SharedRedisCache) -> None:
    with pytest.raises(TypeError):
        cache.set("key", {1, 2}, 60)
    assert seal("key", True, None) != 1


# --- Counting against a rate -----------------------------------------------------------------------------------------------


def test_places_are_taken_atomically_by_all_nodes(cache: SharedRedisCache, address: str) -> None:
    elsewhere = SharedRedisCache(f"{address}?client_name=elsewhere", {})
    waits = at_once(lambda number: (cache, elsewhere)[number % 2].count("key", Rate(7, 3600)).wait_s, 20)
    assert sum(wait == 0 for wait in waits) == 7


def test_a_full_key_says_when_its_next_place_is_free(cache: SharedRedisCache) -> None:
    rate = Rate(2, 3600)
    assert [cache.count("key", rate).wait_s for _ in range(2)] == [0, 0]
    assert 1790 < cache.count("key", rate).wait_s <= 1800
    assert 0 < cache.client.ttl(cache.make_key("key")) <= 3600


def test_a_count_says_how_full_its_key_is(cache: SharedRedisCache) -> None:
    counts = [cache.count("key", Rate(2, 3600)) for _ in range(3)]
    assert [(count.wait_us == 0, count.places_left) for count in counts] == [(True, 1), (True, 0), (False, 0)]
    assert [round(count.all_free_s, -2) for count in counts] == [1800, 3600, 3600]


def test_several_places_are_taken_together_or_not_at_all(cache: SharedRedisCache) -> None:
    rate = Rate(60, 3600)
    assert cache.count("key", rate, 50).places_left == 10
    assert cache.count("key", rate, 20).wait_us > 0
    assert cache.count("key", rate, 10).wait_us == 0


def test_a_refused_request_takes_no_place(cache: SharedRedisCache) -> None:
    first, *others = [cache.count("key", Rate(1, 3600)).wait_s for _ in range(5)]
    assert first == 0
    assert all(3590 < wait <= 3600 for wait in others)


def test_a_place_that_is_given_back_is_free(cache: SharedRedisCache) -> None:
    rate = Rate(2, 3600)
    assert [cache.count("key", rate).wait_s for _ in range(2)] == [0, 0]
    cache.give_place_back("key", rate)
    assert cache.count("key", rate).wait_s == 0
    assert cache.count("key", rate).wait_s > 0
    cache.give_place_back("unknown", rate)


@pytest.mark.parametrize("forged", ["9" * 18, "inf", "nan", "-1", "nonsense", "0x7fffffffffff"])
def test_a_forged_count_is_a_full_key_at_most(cache: SharedRedisCache, forged: str) -> None:
    cache.client.set(cache.make_key("key"), forged)
    rate = Rate(60, 60)
    assert cache.count("key", rate).wait_s <= 1
    cache.give_place_back("key", rate)


def documented_rights() -> list[str]:
    """Return the command that docs/operating.md names, with a password."""
    (command,) = re.findall(r"^ACL SETUSER chat-api .*PASSWORD.*$", OPERATING.read_text(), re.MULTILINE)
    return command.replace("PASSWORD", "a-pass:word").split()


def check_limited_user(address: str) -> None:
    """Do all that the service does with the cache, as the user with the documented rights."""
    limited = SharedRedisCache(address.replace("redis://", "redis://chat-api:a-pass%3Aword@"), {})
    limited.set("key", {"id": 7}, 60)
    assert limited.get("key") == {"id": 7}
    assert limited.get_many(["key"]) == {"key": {"id": 7}}
    assert limited.delete("key") is True
    assert [limited.count("places", Rate(1, 3600)).wait_s > 0 for _ in range(2)] == [False, True]
    limited.give_place_back("places", Rate(1, 3600))
    assert limited.count("places", Rate(1, 3600)).wait_s == 0
    assert limited.delete_matching("pla", lambda _: True) == 1
    assert limited.marked("alive") == [False]
    assert limited.mark("mark", 60)
    assert limited.marked("other", "mark") == [False, True]
    limited.set("token", {"id": "0a-1"}, 60)
    assert limited.get_and_count("token", "of-", Rate(2, 3600))[1] is not None


def test_a_user_of_the_server_with_only_these_rights_is_enough(cache: SharedRedisCache, address: str) -> None:
    cache.client.execute_command(*documented_rights())
    check_limited_user(address)


@pytest.mark.skipif(find_redis() is None, reason=MISSING)
def test_the_documented_rights_on_a_redis_that_lacks_the_newest_command() -> None:
    """Debian 12 has Redis 7.0, which refuses the line as a whole with the word that the documentation says to leave out."""
    with running_redis() as server:
        address = server.address
        client = SharedRedisCache(address, {}).client
        command = documented_rights()
        assert command[-1] == "+client|setinfo"
        if client.info("server")["redis_version"].startswith(("6.", "7.0.")):
            with pytest.raises(RedisError, match="setinfo"):
                client.execute_command(*command)
            command.pop()
        client.execute_command(*command)
        check_limited_user(address)


def test_a_value_and_the_count_of_its_user_are_one_round_trip(cache: SharedRedisCache) -> None:
    rate, user_id = Rate(3, 3600), str(uuid4())
    cache.set("token", {"id": user_id, "is_admin": False}, 60)
    for left in (2, 1):
        value, count = cache.get_and_count("token", "read:user-", rate)
        assert value == {"id": user_id, "is_admin": False}
        assert count is not None
        assert (count.wait_us, count.places_left) == (0, left)
    # The same places as those of `count`.
    assert cache.count(f"read:user-{user_id}", rate).places_left == 0
    value, count = cache.get_and_count("token", "read:user-", rate)
    assert value is not None
    assert count is not None
    assert 1190 < count.wait_s <= 1200


def test_what_names_no_user_is_not_counted(cache: SharedRedisCache) -> None:
    rate = Rate(1, 3600)
    cache.set("rejected", {}, 60)
    assert cache.get_and_count("rejected", "read:user-", rate) == ({}, None)
    assert cache.get_and_count("unknown", "read:user-", rate) == (None, None)
    cache.client.set(cache.make_key("forged"), b"x" * 32 + b'[null,{"id":"0a-1"}]')
    assert cache.get_and_count("forged", "read:user-", rate) == (None, None)
    cache.client.lpush(cache.make_key("list"), "x")
    assert cache.get_and_count("list", "read:user-", rate) == (None, None)
    assert SharedRedisCache(UNREACHABLE, {}).get_and_count("rejected", "read:user-", rate) == (None, None)


# --- What others write, and other servers ------------------------------------------------------------------------------------


def test_a_long_value_is_not_fetched(cache: SharedRedisCache, monkeypatch: pytest.MonkeyPatch) -> None:
    received: list[int] = []
    monkeypatch.setattr(shared_cache, "unseal", lambda _, stored: received.append(len(stored)))
    client = cache.client
    for name in ("key", "mark"):
        client.set(cache.make_key(name), b"\0" * 10_000_000)
    assert cache.get("key") is None
    assert cache.get_and_count("key", "of-", Rate(1, 60)) == (None, None)
    assert cache.marked("mark", "other") == [True, False]
    assert received == []


class OtherServer:
    """Speaks enough of the protocol to refuse every command on the connections that it had when it became a replica."""

    def __init__(self, refusal: bytes) -> None:
        self.refusal = refusal
        self.connections = 0
        self.refusing = 1_000_000
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"redis://127.0.0.1:{self._listener.getsockname()[1]}/0?protocol=2"
        threading.Thread(target=self._accept, daemon=True).start()

    def promote_another(self) -> None:
        """Let new connections lead to a server that takes commands."""
        self.refusing = self.connections

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(client, self.connections), daemon=True).start()

    def _serve(self, client: socket.socket, number: int) -> None:
        with client, client.makefile("rb") as stream, contextlib.suppress(OSError):
            while line := stream.readline():
                words = [stream.read(int(stream.readline()[1:]) + 2)[:-2].upper() for _ in range(int(line[1:]))]
                is_greeting = words[0] in (b"CLIENT", b"HELLO", b"SELECT")
                client.sendall(b"-" + self.refusal + b"\r\n" if number <= self.refusing and not is_greeting else b"+OK\r\n")


@pytest.fixture
def replaced(request: pytest.FixtureRequest) -> Iterator[OtherServer]:
    server = OtherServer(request.param)
    yield server
    server.close()


@pytest.mark.parametrize(
    "replaced",
    [
        b"READONLY You can't write against a read only replica.",
        b"MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
        b"ERR Error running script (call to f_1): @user_script:1: -READONLY You can't write against a read only slave.",
        b"NOREPLICAS Not enough good replicas to write.",
    ],
    ids=["a replica", "a replica without its primary", "a script on a replica", "a primary without replicas"],
    indirect=True,
)
def test_after_a_fail_over_new_connections_are_made(replaced: OtherServer) -> None:
    cache = SharedRedisCache(replaced.address, {})
    assert cache.mark("key", 60) is False
    replaced.promote_another()
    assert cache.mark("key", 60) is False, "the server is left alone for a while"
    cache.server.breaker._try_again_at = 0.0
    assert cache.mark("key", 60) is True
    assert replaced.connections == 2


@pytest.mark.parametrize("replaced", [b"LOADING Redis is loading the dataset in memory"], ids=["loading"], indirect=True)
def test_a_server_that_loads_is_left_alone_until_it_has(replaced: OtherServer) -> None:
    cache = SharedRedisCache(replaced.address, {})
    assert cache.mark("key", 60) is False
    assert not cache.server.breaker.may_call()
    replaced.refusing = 0
    cache.server.breaker._try_again_at = 0.0
    assert cache.mark("key", 60) is True


@pytest.mark.parametrize(
    "replaced",
    [b"MOVED 3999 127.0.0.1:6381", b"ASK 3999 127.0.0.1:6381", b"CLUSTERDOWN Hash slot not served"],
    ids=["moved", "ask", "down"],
    indirect=True,
)
def test_a_cluster_is_named_as_the_trouble(replaced: OtherServer, caplog: pytest.LogCaptureFixture) -> None:
    cache = SharedRedisCache(replaced.address, {})
    assert cache.mark("key", 60) is False
    assert not cache.server.breaker.may_call()
    assert "CACHE_URL names a node of a cluster" in caplog.text
