"""Who is calling: every answer of the auth service, how often it is asked, and what is remembered."""

import json
import socket
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
import requests
import responses
import urllib3
from django.conf import settings
from django.core.cache import cache
from django.db import connection
from pytest_django.fixtures import Settings

from chatapi.auth import authentication, remembered_tokens
from chatapi.auth.authentication import REJECTION_SECONDS, AuthUnavailable, TokenValidator
from chatapi.auth.caller import Caller
from chatapi.environment import Rate
from chatapi.limits.rejected_tokens import rejected_tokens
from chatapi.outgoing import outbound as outbound_calls
from chatapi.tests.auth_service import AuthService
from chatapi.tests.clients import UserClient
from conversations.models import ChatUser
from tests.support.waiting import LIMIT_S, wait_until

VALIDATE = f"{settings.AUTH_SERVICE_URL}/auth/validate"
USER_ID = "6d0c1a54-1f0b-4a43-9d0d-0c1d7f5f1a11"
ADDRESS = "/api/conversations"
ANY_USER = {"id": USER_ID, "email": "mira@example.test", "name": "Mira"}

pytestmark = pytest.mark.django_db


class Memory:
    """What was put into the cache, and for how long."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seconds: list[float] = []
        remember = cache.set

        def note(key: str, value: Any, timeout: float) -> None:
            self.seconds.append(timeout)
            remember(key, value, timeout)

        monkeypatch.setattr(remembered_tokens.cache, "set", note, raising=False)


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Memory:
    return Memory(monkeypatch)


def answer(outbound: responses.RequestsMock, **how: Any) -> None:
    outbound.add(responses.POST, VALIDATE, **how)


def valid(user: dict[str, Any] | None = None, **claims: Any) -> dict[str, Any]:
    return {"valid": True, "user": ANY_USER if user is None else user, "claims": claims}


def ask(token: str = "a-token") -> Any:
    return UserClient(token).get(ADDRESS)


def remembered_values() -> list[bytes]:
    # The memory cache's own store: the only way to see what it holds.
    return [key.encode() + pickled for key, pickled in cache._cache.items()]  # type: ignore[attr-defined]


# --- Outcomes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 201, 202])
def test_a_valid_token_is_let_in(outbound: responses.RequestsMock, status: int) -> None:
    answer(outbound, json=valid(), status=status)
    assert ask().status_code == 200


def test_the_service_is_asked_with_our_key_the_token_and_the_trace(outbound: responses.RequestsMock) -> None:
    answer(outbound, json=valid())
    UserClient("a-token").get(ADDRESS, headers={"X-Trace-Id": "trace-7"})
    asked = outbound.calls[0].request
    assert json.loads(asked.body) == {"token": "a-token"}
    assert asked.headers["X-Internal-API-Key"] == settings.INTERNAL_API_KEY
    assert asked.headers["X-Trace-Id"] == "trace-7"


@pytest.mark.parametrize(
    "how",
    [
        {"status": 401, "json": {"valid": False, "reason": "expired"}},
        {"status": 401, "body": "no json"},
        {"status": 200, "json": {"valid": False, "reason": "revoked"}},
    ],
)
def test_a_rejected_token_is_a_401(outbound: responses.RequestsMock, how: dict[str, Any]) -> None:
    answer(outbound, **how)
    response = ask()
    assert (response.status_code, response.json()["code"]) == (401, "invalid_token")
    assert response["WWW-Authenticate"] == "Bearer"


FAILURES: list[dict[str, Any]] = [
    {"status": 403, "json": {"detail": "wrong key"}},
    {"status": 500, "json": {"valid": True, "user": ANY_USER}},
    {"status": 302, "headers": {"Location": "http://elsewhere.test/"}},
    {"status": 404, "json": {}},
    {"status": 429, "json": {}},
    {"body": requests.ConnectionError("refused")},
    {"body": requests.ReadTimeout("slow")},
    {"body": requests.ConnectTimeout("slow")},
    {"status": 200, "body": "<html>"},
    {"status": 200, "body": ""},
    {"status": 200, "json": ["valid"]},
    {"status": 200, "json": {}},
    {"status": 200, "json": {"valid": "true", "user": ANY_USER}},
    {"status": 200, "json": {"valid": True}},
    {"status": 200, "json": {"valid": True, "user": "mira"}},
    {"status": 200, "json": {"valid": True, "user": {"id": "not-a-uuid"}}},
    {"status": 200, "json": {"valid": True, "user": {"email": "mira@example.test"}}},
    {"status": 200, "body": b'{"valid": true, "user": "' + b"x" * (1024 * 1024) + b'"}'},
]


@pytest.mark.parametrize("how", FAILURES, ids=lambda how: str(how)[:60])
def test_a_failure_is_a_503_and_never_remembered(outbound: responses.RequestsMock, how: dict[str, Any]) -> None:
    answer(outbound, **how)
    response = ask()
    assert (response.status_code, response.json()["code"]) == (503, "auth_unavailable")
    assert "WWW-Authenticate" not in response
    assert not [value for value in remembered_values() if b"auth:" in value]
    outbound.replace(responses.POST, VALIDATE, json=valid())
    assert ask().status_code == 200


@pytest.mark.parametrize("header", ["", "Basic dTpw", "Bearer", "a-token", "Token a-token"])
def test_without_a_bearer_token_the_auth_service_is_not_asked(outbound: responses.RequestsMock, header: str) -> None:
    response = UserClient("").get(ADDRESS, headers={"Authorization": header} if header else None)
    assert response.status_code == 401
    assert response.json()["code"] == ("invalid_token" if header == "Bearer" else "not_authenticated")
    assert response["WWW-Authenticate"] == "Bearer"
    assert len(outbound.calls) == 0


@pytest.mark.parametrize("token", ["two words", "semi;colon", "ümlaut", "x" * 8193, "nul\x00"])
def test_what_cannot_be_a_token_is_not_asked_about(outbound: responses.RequestsMock, token: str) -> None:
    response = ask(token)
    assert (response.status_code, response.json()["code"]) == (401, "invalid_token")
    assert len(outbound.calls) == 0


@pytest.mark.parametrize("scheme", ["bearer", "BEARER"])
def test_the_scheme_is_case_insensitive(outbound: responses.RequestsMock, scheme: str) -> None:
    answer(outbound, json=valid())
    assert UserClient("").get(ADDRESS, headers={"Authorization": f"{scheme} a-token"}).status_code == 200


# --- A connection that breaks --------------------------------------------------------------------------------------------

CUT = requests.ConnectionError(urllib3.exceptions.ProtocolError("Connection aborted.", ConnectionResetError(104, "reset")))


def test_a_connection_that_was_closed_as_it_was_used_is_tried_once_more(outbound: responses.RequestsMock) -> None:
    answer(outbound, body=CUT)
    answer(outbound, json=valid())
    assert ask().status_code == 200
    assert len(outbound.calls) == 2


def test_it_is_tried_twice_at_most(outbound: responses.RequestsMock) -> None:
    answer(outbound, body=CUT)
    assert ask().status_code == 503
    assert len(outbound.calls) == 2


@pytest.mark.parametrize(
    "failure",
    [
        requests.ReadTimeout("slow"),
        requests.ConnectTimeout("slow"),
        requests.ConnectionError("refused"),
        requests.exceptions.SSLError("not trusted"),
        requests.ConnectionError(urllib3.exceptions.ProtocolError("Connection aborted.", TimeoutError())),
    ],
)
def test_nothing_else_is_tried_again(outbound: responses.RequestsMock, failure: Exception) -> None:
    answer(outbound, body=failure)
    answer(outbound, json=valid())
    assert ask().status_code == 503
    assert len(outbound.calls) == 1


def test_the_second_try_has_what_is_left_of_the_deadline(
    outbound: responses.RequestsMock, monkeypatch: pytest.MonkeyPatch
) -> None:
    timeouts: list[float] = []

    def cut(request: Any) -> Any:
        timeouts.append(request.req_kwargs["timeout"][0])
        now[0] += 2
        raise CUT

    now = [1000.0]
    monkeypatch.setattr(outbound_calls, "time", SimpleNamespace(monotonic=lambda: now[0]))
    outbound.add_callback(responses.POST, VALIDATE, cut)
    assert ask().status_code == 503
    assert timeouts == [5, 3]


def test_a_kept_connection_that_the_service_closes_costs_nothing(settings: Settings) -> None:
    """Real sockets: the service answers once, and hangs up when its connection is used again."""
    body = json.dumps(valid()).encode()
    served: list[int] = []

    def serve() -> None:
        for number in range(2):
            connection, _ = listener.accept()
            with connection, connection.makefile("rb") as request:
                length = 0
                while (line := request.readline()) not in (b"\r\n", b""):
                    length = int(line.split(b":")[1]) if line.lower().startswith(b"content-length:") else length
                request.read(length)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
                served.append(number)
                # Of the second request it reads one byte and hangs up: its sender gets a reset.
                if number == 0:
                    connection.recv(1)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        settings.AUTH_SERVICE_URL = f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.settimeout(LIMIT_S)
        service = threading.Thread(target=serve, daemon=True)
        service.start()
        validator = TokenValidator()
        verdicts = [validator.validate(token) for token in ("one", "two")]
        service.join(LIMIT_S)
        validator._session.close()
    assert [verdict and verdict.id for verdict in verdicts] == [uuid.UUID(USER_ID)] * 2
    assert served == [0, 1]


# --- Rejected tokens are limited ------------------------------------------------------------------------------------------


def test_made_up_tokens_are_not_all_asked_about(outbound: responses.RequestsMock, settings: Settings) -> None:
    settings.THROTTLE_REJECTED_TOKENS = Rate(20, 3600)
    answer(outbound, status=401, json={"valid": False})
    statuses = [ask(f"made-up-{number}").status_code for number in range(100)]
    assert statuses == [401] * 20 + [429] * 80
    assert len(outbound.calls) == 20
    refused = ask("made-up")
    assert refused.json()["code"] == "throttled"
    assert 0 < int(refused["Retry-After"]) <= 180


def test_at_the_limit_known_tokens_and_other_addresses_go_on(
    user: UserClient, new_user: Callable[..., UserClient], settings: Settings
) -> None:
    settings.THROTTLE_REJECTED_TOKENS = Rate(2, 3600)
    assert user.get(ADDRESS).status_code == 200
    assert [ask(f"made-up-{number}").status_code for number in range(3)] == [401, 401, 429]
    assert user.get(ADDRESS).status_code == 200
    newcomer = new_user()
    assert newcomer.get(ADDRESS).status_code == 429
    assert newcomer.get(ADDRESS, REMOTE_ADDR="203.0.113.7").status_code == 200
    # Refused without being asked about, and so not remembered as rejected.
    assert ask("made-up-9").status_code == 429


def test_valid_tokens_take_no_place(new_user: Callable[..., UserClient], settings: Settings) -> None:
    settings.THROTTLE_REJECTED_TOKENS = Rate(2, 3600)
    assert [new_user().get(ADDRESS).status_code for _ in range(10)] == [200] * 10


def test_a_failing_service_takes_no_place(outbound: responses.RequestsMock, settings: Settings) -> None:
    settings.THROTTLE_REJECTED_TOKENS = Rate(2, 3600)
    answer(outbound, status=500)
    assert [ask(f"token-{number}").status_code for number in range(5)] == [503] * 5


def test_a_remembered_rejection_takes_no_place(outbound: responses.RequestsMock, settings: Settings) -> None:
    settings.THROTTLE_REJECTED_TOKENS = Rate(2, 3600)
    answer(outbound, status=401, json={})
    assert [ask("made-up").status_code for _ in range(5)] == [401] * 5
    assert ask("another").status_code == 401


def test_made_up_tokens_at_once_do_not_exceed_the_limit(outbound: responses.RequestsMock, settings: Settings) -> None:
    settings.THROTTLE_REJECTED_TOKENS = Rate(3, 3600)
    gate = Gate(outbound, (401, {}, "{}"))
    validator = TokenValidator()
    with ThreadPoolExecutor(30) as threads:
        calls = [threads.submit(validator.validate, f"made-up-{number}", "203.0.113.7") for number in range(30)]
        for _ in range(3):
            assert gate.asked.acquire(timeout=LIMIT_S)
        gate.opened.set()
        outcomes = [call.exception(LIMIT_S) for call in calls]
    assert len(outbound.calls) == 3
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["NoneType"] * 3 + ["TooManyRejectedTokens"] * 27
    assert rejected_tokens._addresses == {}


def test_many_new_users_of_one_address_wait_for_one_another(
    outbound: responses.RequestsMock, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More of them at once than there are places: none is refused for it."""
    settings.THROTTLE_REJECTED_TOKENS = Rate(3, 3600)
    monkeypatch.setattr(authentication, "remember_user", lambda **_: None)
    gate = Gate(outbound, (200, {}, json.dumps(valid())))
    validator = TokenValidator()
    with ThreadPoolExecutor(20) as threads:
        calls = [threads.submit(validator.validate, f"token-{number}", "203.0.113.7") for number in range(20)]
        for _ in range(3):
            assert gate.asked.acquire(timeout=LIMIT_S)
        gate.opened.set()
        assert {call.result(LIMIT_S).id for call in calls} == {uuid.UUID(USER_ID)}  # type: ignore[union-attr]
    assert len(outbound.calls) == 20


def test_those_who_wait_for_a_slow_service_let_others_in(
    outbound: responses.RequestsMock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two requests with the same token one asks the service, and the other waits for its verdict."""
    has_let_in = threading.Event()
    monkeypatch.setattr(authentication, "release_connections", has_let_in.set)
    monkeypatch.setattr(authentication, "BRIEF_WAIT_S", 0.01)
    monkeypatch.setattr(authentication, "remember_user", lambda **_: None)
    gate = Gate(outbound, (200, {}, json.dumps(valid())))
    validator = TokenValidator()
    with ThreadPoolExecutor(2) as threads:
        calls = [threads.submit(validator.validate, "a-token", "203.0.113.7") for _ in range(2)]
        assert gate.asked.acquire(timeout=LIMIT_S)
        assert has_let_in.wait(LIMIT_S)
        gate.opened.set()
        assert {call.result(LIMIT_S).id for call in calls} == {uuid.UUID(USER_ID)}  # type: ignore[union-attr]
    assert len(outbound.calls) == 1


# --- What is remembered ------------------------------------------------------------------------------------------------


def test_a_valid_token_is_asked_about_once(outbound: responses.RequestsMock) -> None:
    answer(outbound, json=valid())
    assert [ask().status_code for _ in range(3)] == [200, 200, 200]
    assert len(outbound.calls) == 1


def test_each_token_has_its_own_verdict(outbound: responses.RequestsMock) -> None:
    outbound.add_callback(
        responses.POST,
        VALIDATE,
        lambda request: (200, {}, json.dumps(valid())) if b"good" in request.body else (401, {}, "{}"),
    )
    assert [ask(token).status_code for token in ("good", "bad", "good", "bad")] == [200, 401, 200, 401]
    assert len(outbound.calls) == 2


def test_a_rejection_is_remembered_for_15_seconds(outbound: responses.RequestsMock, memory: Memory) -> None:
    answer(outbound, status=401, json={"valid": False})
    assert [ask().status_code, ask().status_code] == [401, 401]
    assert len(outbound.calls) == 1
    assert memory.seconds == [REJECTION_SECONDS] == [15]


@pytest.mark.parametrize(
    ("exp_in_s", "least", "most"),
    [
        (None, 300, 300),
        (3600, 300, 300),
        (100, 60, 100),
        (20, 1, 20),
        ("tomorrow", 300, 300),
        pytest.param(10**400, 300, 300, id="never"),
    ],
)
def test_a_verdict_lives_no_longer_than_its_token(
    outbound: responses.RequestsMock, memory: Memory, exp_in_s: Any, least: int, most: int
) -> None:
    exp = int(time.time()) + exp_in_s if isinstance(exp_in_s, int) else exp_in_s
    answer(outbound, json=valid(exp=exp))
    assert ask().status_code == 200
    assert least <= memory.seconds[0] <= most


def test_a_token_that_ends_now_is_not_remembered(outbound: responses.RequestsMock, memory: Memory) -> None:
    answer(outbound, json=valid(exp=time.time() - 1))
    assert [ask().status_code, ask().status_code] == [200, 200]
    assert len(outbound.calls) == 2
    assert memory.seconds == []


def test_the_configured_life_is_the_longest(outbound: responses.RequestsMock, memory: Memory, settings: Settings) -> None:
    settings.AUTH_CACHE_SECONDS = 7
    answer(outbound, json=valid(exp=time.time() + 3600))
    ask()
    assert memory.seconds == [7]


def test_the_cache_never_holds_the_token(outbound: responses.RequestsMock) -> None:
    answer(outbound, json=valid())
    ask("secret-looking-token")
    assert remembered_values()
    assert not any(b"secret-looking" in value for value in remembered_values())


def test_keys_depend_on_the_secret(settings: Settings) -> None:
    before = remembered_tokens.cache_key("a-token")
    settings.SECRET_KEY = "another secret"
    assert remembered_tokens.cache_key("a-token") != before


def test_a_remembered_caller_is_the_same(outbound: responses.RequestsMock) -> None:
    answer(outbound, json=valid({**ANY_USER, "is_admin": True}))
    validator = TokenValidator()
    fresh, recalled = validator.validate("a-token"), validator.validate("a-token")
    assert fresh == recalled == Caller(uuid.UUID(USER_ID), is_admin=True)


def test_what_is_no_verdict_is_not_taken_for_one(outbound: responses.RequestsMock) -> None:
    """A bare number is all that somebody who writes to a shared cache can put there."""
    answer(outbound, json=valid())
    cache.set(remembered_tokens.cache_key("a-token"), 1, 60)
    assert ask().status_code == 200
    assert len(outbound.calls) == 1


def test_the_cache_knows_neither_address_nor_name(outbound: responses.RequestsMock) -> None:
    answer(outbound, json=valid({"id": USER_ID, "email": "mira@example.test", "name": "Mira Example"}))
    ask()
    assert any(USER_ID.encode() in value for value in remembered_values())
    assert not any(b"mira" in value.lower() for value in remembered_values())
    assert ChatUser.objects.get().email == "mira@example.test"


# --- At once -----------------------------------------------------------------------------------------------------------


class Gate:
    """An auth service that answers when it is told to."""

    def __init__(self, outbound: responses.RequestsMock, result: tuple[int, dict[str, str], str] | Exception) -> None:
        self.opened = threading.Event()
        self.asked = threading.Semaphore(0)
        self._result = result
        outbound.add_callback(responses.POST, VALIDATE, self._wait)

    def _wait(self, request: Any) -> Any:
        self.asked.release()
        assert self.opened.wait(LIMIT_S)
        if isinstance(self._result, Exception):
            raise self._result
        return self._result


def validate_at_once(gate: Gate, token: str, times: int, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Validate a token in as many threads while the auth service thinks; return verdicts and exceptions."""
    monkeypatch.setattr(authentication, "remember_user", lambda **_: None)
    validator = TokenValidator()
    looked = threading.Semaphore(0)

    class NotingCache:
        set = staticmethod(cache.set)

        @staticmethod
        def get(key: str) -> Any:
            value = cache.get(key)
            looked.release()
            return value

    monkeypatch.setattr(remembered_tokens, "cache", NotingCache)
    with ThreadPoolExecutor(times) as threads:
        leader = threads.submit(validator.validate, token)
        assert gate.asked.acquire(timeout=LIMIT_S)
        others = [threads.submit(validator.validate, token) for _ in range(times - 1)]
        # All have missed the cache (the leader twice) before there is an answer.
        for _ in range(times + 1):
            assert looked.acquire(timeout=LIMIT_S)
        gate.opened.set()
        calls = [leader, *others]
        return [call.exception(LIMIT_S) or call.result() for call in calls]


def test_concurrent_requests_share_one_call(outbound: responses.RequestsMock, monkeypatch: pytest.MonkeyPatch) -> None:
    verdicts = validate_at_once(Gate(outbound, (200, {}, json.dumps(valid()))), "a-token", 8, monkeypatch)
    assert {verdict.id for verdict in verdicts} == {uuid.UUID(USER_ID)}
    assert len(outbound.calls) == 1


def test_concurrent_requests_share_a_rejection(outbound: responses.RequestsMock, monkeypatch: pytest.MonkeyPatch) -> None:
    assert validate_at_once(Gate(outbound, (401, {}, "{}")), "a-token", 5, monkeypatch) == [None] * 5
    assert len(outbound.calls) == 1


def test_concurrent_requests_share_a_failure(outbound: responses.RequestsMock, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(outbound, requests.ConnectionError("refused"))
    verdicts = validate_at_once(gate, "a-token", 5, monkeypatch)
    assert [type(verdict) for verdict in verdicts] == [AuthUnavailable] * 5


def test_a_request_that_waits_too_long_for_another_s_call_gets_a_503(
    outbound: responses.RequestsMock, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(outbound, (401, {}, "{}"))
    validator = TokenValidator()
    with ThreadPoolExecutor(1) as threads:
        leader = threads.submit(validator.validate, "a-token")
        assert gate.asked.acquire(timeout=LIMIT_S)
        monkeypatch.setattr(authentication, "VALIDATION_DEADLINE_S", 0.05)
        try:
            with pytest.raises(AuthUnavailable):
                validator.validate("a-token")
        finally:
            monkeypatch.undo()
            gate.opened.set()
        assert leader.result(LIMIT_S) is None


def test_no_request_waits_for_the_directory(outbound: responses.RequestsMock, monkeypatch: pytest.MonkeyPatch) -> None:
    answer(outbound, json=valid())
    writing, written = threading.Event(), threading.Event()

    def write(**_: Any) -> None:
        writing.set()
        assert written.wait(LIMIT_S)

    monkeypatch.setattr(authentication, "remember_user", write)
    validator = TokenValidator()
    with ThreadPoolExecutor(2) as threads:
        leader = threads.submit(validator.validate, "a-token")
        assert writing.wait(LIMIT_S)
        cache.clear()
        other = threads.submit(validator.validate, "a-token")
        try:
            # The second asks for itself: the first call is over, its verdict stands.
            wait_until(lambda: len(outbound.calls) == 2, "the second call", limit_s=5)
        finally:
            written.set()
        assert leader.result(LIMIT_S) == other.result(LIMIT_S)


def test_a_failed_call_leaves_nothing_behind(outbound: responses.RequestsMock) -> None:
    validator = TokenValidator()
    answer(outbound, status=500)
    with pytest.raises(AuthUnavailable):
        validator.validate("a-token")
    assert validator._calls == {}


# --- Admins and the directory -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("about", "is_admin"),
    [
        ({"is_admin": True}, True),
        ({"is_admin": "true"}, False),
        ({"is_admin": 1}, False),
        ({"email": "Boss@Example.test"}, True),
        ({"email": "boss@example.test.evil"}, False),
        ({"email": ""}, False),
        ({"email": None}, False),
    ],
)
def test_who_is_an_admin(
    new_user: Callable[..., UserClient],
    settings: Settings,
    outbound: responses.RequestsMock,
    about: dict[str, Any],
    is_admin: bool,
) -> None:
    settings.ADMIN_EMAILS = frozenset({"boss@example.test"})
    outbound.add(responses.POST, f"{settings.INFERENCE_SERVICE_URL}/models/swap", json={"status": "ok"}, status=202)
    response = new_user(**about).post("/api/models/swap", {"model_tag": "d32"})
    assert response.status_code == (202 if is_admin else 403), response.content


KELVIN = "\u212a"  # the sign for kelvin, whose lower case is "k"


@pytest.mark.parametrize(
    ("user", "claims", "is_admin"),
    [
        ({"email": "kate@example.test"}, {}, True),
        ({"email": "Kate@Example.TEST"}, {}, True),
        ({"email": f"{KELVIN}ate@example.test"}, {}, False),
        ({"email": "kate@example.te\u017ft"}, {}, False),
        ({"email": "kate\x00@example.test"}, {}, False),
        ({"email": "kate@example.test\x00"}, {}, False),
        ({"email": " kate@example.test"}, {}, False),
        ({"email": ["kate@example.test"]}, {}, False),
        ({"email": "kate@example.test", "email_verified": True}, {}, True),
        ({"email": "kate@example.test", "email_verified": "true"}, {}, True),
        ({"email": "kate@example.test"}, {"email_verified": True}, True),
        ({"email": "kate@example.test", "email_verified": False}, {}, False),
        ({"email": "kate@example.test"}, {"email_verified": False}, False),
        ({"email": "kate@example.test", "email_verified": True}, {"email_verified": False}, False),
        ({"email": "kate@example.test", "email_verified": "false"}, {}, False),
        ({"email": "kate@example.test", "email_verified": None}, {}, False),
        ({"email": "other@example.test", "email_verified": False, "is_admin": True}, {}, True),
    ],
)
def test_only_the_very_address_makes_an_admin(
    outbound: responses.RequestsMock, settings: Settings, user: dict[str, Any], claims: dict[str, Any], is_admin: bool
) -> None:
    settings.ADMIN_EMAILS = frozenset({"kate@example.test"})
    answer(outbound, json=valid({"id": USER_ID, **user}, **claims))
    caller = TokenValidator().validate("a-token")
    assert caller is not None and caller.is_admin is is_admin


def test_the_directory_knows_who_came(new_user: Callable[..., UserClient]) -> None:
    client = new_user(email="mira@example.test", name="Mira\x00 " + "x" * 300, is_admin=True)
    client.get(ADDRESS)
    user = ChatUser.objects.get(id=client.user_id)
    assert (user.email, user.name, user.is_admin) == ("mira@example.test", ("Mira " + "x" * 300)[:255], True)
    assert user.first_seen_at is not None and user.last_seen_at is not None


def test_the_directory_follows_what_the_service_says(outbound: responses.RequestsMock) -> None:
    ChatUser.objects.create(id=USER_ID, email="old@example.test", first_seen_at="2020-01-01T00:00Z", last_seen_at=None)
    answer(outbound, json=valid())
    ask()
    user = ChatUser.objects.get()
    assert user.email == "mira@example.test"
    assert user.first_seen_at is not None and user.first_seen_at.year == 2020
    assert user.last_seen_at is not None


def test_a_rejected_token_leaves_no_user(anonymous: UserClient) -> None:
    ask("unknown")
    assert not ChatUser.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_directory_that_fails_stops_no_request(outbound: responses.RequestsMock) -> None:
    answer(outbound, json=valid())
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE chat_users RENAME TO chat_users_elsewhere")
    try:
        assert ask().status_code == 200
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE chat_users_elsewhere RENAME TO chat_users")


def test_a_request_costs_no_query_for_a_known_token(user: UserClient, django_assert_num_queries: Any) -> None:
    assert user.get("/api/unknown").status_code == 404
    user.get(ADDRESS)
    with django_assert_num_queries(1):
        user.get(ADDRESS)


def test_the_auth_service_is_asked_once_for_a_visit(user: UserClient, auth_service: AuthService) -> None:
    user.post(ADDRESS, {})
    user.get(ADDRESS)
    assert len(auth_service.asked) == 1
