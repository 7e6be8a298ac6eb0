"""Who is calling: every answer of the auth service, how often it is asked, and what is remembered."""

import json
import pickle
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
import responses
from django.conf import settings
from django.core.cache import cache
from django.db import connection
from pytest_django.fixtures import Settings

from chatapi import authentication
from chatapi.authentication import REJECTION_SECONDS, AuthUnavailable, Caller, TokenValidator
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

        monkeypatch.setattr(authentication.cache, "set", note, raising=False)


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


def test_a_valid_token_is_let_in(outbound: responses.RequestsMock) -> None:
    answer(outbound, json=valid())
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
def test_without_a_bearer_token_nobody_is_asked(outbound: responses.RequestsMock, header: str) -> None:
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
    [(None, 300, 300), (3600, 300, 300), (100, 60, 100), (20, 1, 20), ("tomorrow", 300, 300)],
)
def test_a_verdict_lives_no_longer_than_its_token(
    outbound: responses.RequestsMock, memory: Memory, exp_in_s: Any, least: int, most: int
) -> None:
    exp = time.time() + exp_in_s if isinstance(exp_in_s, int) else exp_in_s
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
    before = authentication._cache_key("a-token")
    settings.SECRET_KEY = "another secret"
    assert authentication._cache_key("a-token") != before


def test_a_remembered_caller_is_the_same(outbound: responses.RequestsMock) -> None:
    answer(outbound, json=valid({**ANY_USER, "is_admin": True}))
    validator = TokenValidator()
    fresh, recalled = validator.validate("a-token"), validator.validate("a-token")
    assert fresh == recalled == Caller(uuid.UUID(USER_ID), "mira@example.test", "Mira", is_admin=True)
    assert pickle.loads(pickle.dumps(recalled)) == fresh


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

    monkeypatch.setattr(authentication, "cache", NotingCache)
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


def test_whoever_waits_too_long_for_anothers_call_gets_a_503(
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


def test_nobody_waits_for_the_directory(outbound: responses.RequestsMock, monkeypatch: pytest.MonkeyPatch) -> None:
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
def test_a_directory_that_fails_stops_nobody(outbound: responses.RequestsMock) -> None:
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
