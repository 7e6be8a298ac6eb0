"""Names are looked up within a call's time, by one thread per name, and old answers serve while there is no newer one."""

import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
import requests
import responses
from redis.backoff import NoBackoff
from redis.retry import Retry

from chatapi.outgoing import name_lookups as lookups_module
from chatapi.outgoing.calls import Call
from chatapi.outgoing.connecting import connect
from chatapi.outgoing.name_lookups import name_lookups
from chatapi.outgoing.outbound import call_json, new_session
from tests.support.auth import ScriptedAuth, make_token
from tests.support.waiting import LIMIT_S, wait_until

NAME = "auth.test"


class Resolver:
    """Replaces the operating system's resolver."""

    def __init__(self) -> None:
        self.addresses: list[str] = []
        self.failure: OSError | None = None
        self.asked: list[str] = []
        self.may_answer = threading.Event()
        self.may_answer.set()

    def __call__(self, host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        self.asked.append(host)
        self.may_answer.wait()
        if self.failure is not None:
            raise self.failure
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in self.addresses]


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch, outbound: responses.RequestsMock) -> Iterator[Resolver]:
    outbound.add_passthru(f"http://{NAME}")
    resolver = Resolver()
    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    name_lookups.clear()
    yield resolver
    resolver.may_answer.set()
    name_lookups.clear()


@pytest.fixture
def auth() -> Iterator[ScriptedAuth]:
    with ScriptedAuth() as scripted:
        yield scripted


def validate(port: str | int, deadline_s: float = LIMIT_S) -> int:
    with new_session() as session:
        url = f"http://{NAME}:{port}/auth/validate"
        status, *_ = call_json(session, "POST", url, json={"token": make_token()}, headers={}, deadline_s=deadline_s)
    return status


def port_of(auth: ScriptedAuth) -> str:
    return auth.url.rpartition(":")[2]


def waiting_for(host: str, port: str) -> int:
    name = name_lookups._names.get((host, int(port)))
    return len(name.lookup.waiting) if name and name.lookup else 0


def dead_listener(address: str) -> ExitStack:
    """Return what keeps a listener that answers no connection: its queue is full."""
    stack = ExitStack()
    listener = stack.enter_context(socket.create_server((address, 0), backlog=0))
    for _ in range(8):
        client = stack.enter_context(closing(socket.socket()))
        client.setblocking(False)
        client.connect_ex(listener.getsockname())
    stack.listener = listener  # type: ignore[attr-defined]
    return stack


def test_a_look_up_ends_with_the_deadline_of_its_call(resolver: Resolver) -> None:
    resolver.may_answer.clear()
    with pytest.raises(requests.ReadTimeout):
        validate(80, deadline_s=0.2)


def test_a_look_up_ends_with_a_cut(resolver: Resolver) -> None:
    resolver.may_answer.clear()
    call = Call(LIMIT_S)
    failures: list[OSError] = []

    def look_up() -> None:
        try:
            name_lookups.find(NAME, 80, call=call, limit_s=None)
        except OSError as failure:
            failures.append(failure)

    thread = threading.Thread(target=look_up)
    thread.start()
    wait_until(lambda: resolver.asked, "the resolver is asked")
    call.cut()
    thread.join(LIMIT_S)
    assert isinstance(failures[0], ConnectionAbortedError)


def test_calls_for_one_name_share_a_look_up(resolver: Resolver, auth: ScriptedAuth) -> None:
    resolver.may_answer.clear()
    resolver.addresses = ["127.0.0.1"]
    statuses: list[int] = []
    threads = [threading.Thread(target=lambda: statuses.append(validate(port_of(auth)))) for _ in range(12)]
    for thread in threads:
        thread.start()
    wait_until(lambda: waiting_for(NAME, port_of(auth)) == 12, "all of them wait")
    resolver.may_answer.set()
    for thread in threads:
        thread.join(LIMIT_S)
    assert statuses == [200] * 12
    assert resolver.asked == [NAME]


def test_the_second_address_is_reached_within_the_same_limit(resolver: Resolver) -> None:
    with dead_listener("127.0.0.1") as stack:
        port = stack.listener.getsockname()[1]  # type: ignore[attr-defined]
        resolver.addresses = ["127.0.0.1", "127.0.0.2"]
        with socket.create_server(("127.0.0.2", port)):
            call = Call(LIMIT_S)
            with closing(connect(NAME, port, call=call, limit_s=0.5)) as reached:
                assert reached.getpeername()[0] == "127.0.0.2"
            # The next call does not try the dead one first.
            assert name_lookups.find(NAME, port, call=call, limit_s=0.5)[0].sockaddr[0] == "127.0.0.2"
            call.finish()


def test_an_address_that_accepts_and_never_answers_is_avoided(resolver: Resolver, auth: ScriptedAuth) -> None:
    port = int(port_of(auth))
    resolver.addresses = ["127.0.0.2", "127.0.0.1"]
    with socket.create_server(("127.0.0.2", port)):
        with pytest.raises(requests.ReadTimeout):
            validate(port, deadline_s=0.3)
        assert validate(port) == 200


def test_a_cut_ends_an_attempt_to_connect(resolver: Resolver) -> None:
    with dead_listener("127.0.0.1") as stack:
        port = stack.listener.getsockname()[1]  # type: ignore[attr-defined]
        resolver.addresses = ["127.0.0.1", "127.0.0.1"]
        call = Call(0.2)
        with pytest.raises(OSError):
            connect(NAME, port, call=call, limit_s=LIMIT_S)
        assert call.is_late


@pytest.mark.parametrize("was", ["127.0.0.2", "127.0.0.3"])
def test_a_service_that_has_moved_is_found(resolver: Resolver, auth: ScriptedAuth, was: str) -> None:
    resolver.addresses = [was]
    port = int(port_of(auth))
    name_lookups.find(NAME, port, call=None, limit_s=LIMIT_S)
    resolver.addresses = ["127.0.0.1"]
    assert validate(port) == 200


@pytest.mark.parametrize("trouble", ["slow", "away"])
def test_an_old_answer_serves_while_the_resolver_is_in_trouble(
    resolver: Resolver, auth: ScriptedAuth, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    monkeypatch.setattr(lookups_module, "FRESH_S", 0.0)
    monkeypatch.setattr(lookups_module, "PATIENCE_S", 0.05)
    resolver.addresses = ["127.0.0.1"]
    assert validate(port_of(auth)) == 200
    if trouble == "slow":
        resolver.may_answer.clear()
    else:
        resolver.failure = socket.gaierror(socket.EAI_AGAIN, "away")
    assert validate(port_of(auth)) == 200
    assert len(resolver.asked) == 2


@pytest.mark.parametrize("how", [socket.EAI_NONAME, socket.EAI_NODATA])
def test_a_name_that_is_gone_is_gone(resolver: Resolver, auth: ScriptedAuth, monkeypatch: pytest.MonkeyPatch, how: int) -> None:
    monkeypatch.setattr(lookups_module, "FRESH_S", 0.0)
    resolver.addresses = ["127.0.0.1"]
    assert validate(port_of(auth)) == 200
    resolver.failure = socket.gaierror(how, "unknown")
    with pytest.raises(requests.ConnectionError):
        validate(port_of(auth))


@pytest.fixture
def drivers_share(resolver: Resolver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have drivers ask as they do in the server."""
    monkeypatch.setattr(lookups_module, "_systems_own", None)
    lookups_module.share_lookups()


def ping_cache(port: int) -> None:
    redis.Redis(host=NAME, port=port, retry=Retry(NoBackoff(), 0)).ping()


def open_session(port: int) -> None:
    psycopg.connect(host=NAME, port=port, connect_timeout=int(LIMIT_S)).close()


@pytest.mark.usefixtures("drivers_share")
@pytest.mark.parametrize("connect_driver", [ping_cache, open_session])
def test_a_driver_does_not_wait_for_a_silent_resolver(
    resolver: Resolver, monkeypatch: pytest.MonkeyPatch, connect_driver: Callable[[int], None]
) -> None:
    monkeypatch.setattr(lookups_module, "DRIVER_LIMIT_S", 0.05)
    resolver.may_answer.clear()
    for _ in range(2):
        with pytest.raises((redis.RedisError, psycopg.OperationalError)):
            connect_driver(1)
    assert resolver.asked == [NAME]


@pytest.mark.usefixtures("drivers_share")
def test_a_driver_finds_what_a_name_leads_to_now_or_else_led_to(resolver: Resolver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookups_module, "PATIENCE_S", 0.05)

    def found() -> list[Any]:
        return [sockaddr for *_, sockaddr in socket.getaddrinfo(NAME, "5432", type=socket.SOCK_STREAM)]

    resolver.addresses = ["127.0.0.2"]
    assert found() == [("127.0.0.2", 5432)]
    # After a fail-over, while the answer of before would still count as fresh.
    resolver.addresses = ["127.0.0.3", "127.0.0.4"]
    assert found() == [("127.0.0.3", 5432), ("127.0.0.4", 5432)]
    resolver.may_answer.clear()
    assert found() == [("127.0.0.3", 5432), ("127.0.0.4", 5432)]


def test_a_look_up_of_another_kind_goes_to_the_resolver(drivers_share: None, resolver: Resolver) -> None:
    resolver.addresses = ["127.0.0.1"]
    for _ in range(2):
        socket.getaddrinfo(NAME, 80, 0, socket.SOCK_DGRAM)
        socket.getaddrinfo(NAME, None)
    assert len(resolver.asked) == 4
    with pytest.raises(socket.gaierror):
        socket.getaddrinfo(NAME, 80, socket.AF_INET6, socket.SOCK_STREAM)


def test_an_address_needs_no_resolver(resolver: Resolver) -> None:
    for literal in ("127.0.0.1", "::1"):
        [address] = name_lookups.find(literal, 80, call=None, limit_s=LIMIT_S)
        assert address.sockaddr[0] == literal
    assert not resolver.asked


ON_AN_EVENT_LOOP = """
from gevent import monkey
monkey.patch_all()
import _socket, threading, time
from chatapi.outgoing.calls import Call
from chatapi.outgoing.name_lookups import name_lookups

native = _socket.getaddrinfo
released = monkey.get_original("threading", "Event")()

def look_up(host, *rest):
    if host == "slow.test":
        released.wait()
    return native("127.0.0.1", *rest)

_socket.getaddrinfo = look_up

def ask(host, call):
    try:
        return name_lookups.find(host, 80, call=call, limit_s=None)
    except ConnectionAbortedError:
        return None

slow = [Call(600) for _ in range(12)]
waiting = [threading.Thread(target=ask, args=("slow.test", call)) for call in slow]
for thread in waiting:
    thread.start()
# Rounds of the event loop, in which the slow look-ups begin.
for _ in range(20):
    time.sleep(0)
assert ask("quick.test", Call(30)), "a quick name waits for a slow one"
for call in slow:
    call.cut()
for thread in waiting:
    thread.join()
released.set()
print("held")
"""


def test_a_slow_name_leaves_room_for_others_on_an_event_loop() -> None:
    script = [sys.executable, "-c", ON_AN_EVENT_LOOP]
    root = Path(__file__).parents[2]
    ended = subprocess.run(script, capture_output=True, text=True, cwd=root, timeout=LIMIT_S * 2, check=False)
    assert ended.stdout == "held\n", ended.stderr
