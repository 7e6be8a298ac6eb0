"""How many requests a user, or an address, may make in a period."""

from typing import Any

import pytest
from django.core.cache import caches
from pytest_django.fixtures import Settings
from rest_framework.request import Request
from rest_framework.test import APIRequestFactory

from chatapi.cache.process_cache import ProcessCache
from chatapi.cache.rates import Count, process_meter
from chatapi.cache.shared_cache import SharedRedisCache
from chatapi.environment import Rate
from chatapi.tests.clients import UserClient
from conversations.surfaces.throttles import ReadThrottle, SendThrottle
from tests.support.parallel import at_once
from tests.support.valkey import running_valkey

ADDRESS = "/api/conversations"
pytestmark = pytest.mark.django_db


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A clock that a test sets."""

    class Clock:
        now = 6_000_000.0

        def __call__(self) -> float:
            return self.now

    chosen = Clock()
    monkeypatch.setattr(process_meter, "_clock", chosen)
    return chosen


@pytest.fixture
def trips(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The keys of all places that were asked for: each is a round trip to the cache."""
    asked: list[str] = []
    count = process_meter.count

    def note(key: str, rate: Rate, places: int = 1) -> Count:
        asked.append(key)
        return count(key, rate, places)

    monkeypatch.setattr(process_meter, "count", note)
    return asked


# --- Users -------------------------------------------------------------------------------------------------------------------


def test_the_request_over_the_limit_is_a_429(user: UserClient, settings: Settings, clock: Any) -> None:
    settings.THROTTLE_READ = Rate(2, 60)
    assert [user.get(ADDRESS).status_code for _ in range(3)] == [200, 200, 429]
    clock.now += 17.5
    refused = user.get(ADDRESS)
    assert refused.json()["code"] == "throttled"
    # Rounded up: who comes again then is let in.
    assert refused["Retry-After"] == "13"
    clock.now += 13
    assert user.get(ADDRESS).status_code == 200


def test_no_edge_lets_twice_as_many_pass(user: UserClient, settings: Settings, clock: Any) -> None:
    settings.THROTTLE_SEND = Rate(60, 60)
    conversation = user.post(ADDRESS).json()["id"]

    def send_60() -> int:
        return sum(user.post(f"{ADDRESS}/{conversation}/messages", {}).status_code == 400 for _ in range(60))

    clock.now += 55
    passed = send_60()
    clock.now += 9
    assert passed + send_60() == 69


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


def _request(address: str) -> Request:
    request = Request(APIRequestFactory().get("/", REMOTE_ADDR=address))
    request.user = None
    return request


def test_callers_without_a_user_are_told_apart_by_address(settings: Settings, clock: Any) -> None:
    settings.THROTTLE_READ = Rate(1, 60)
    requests = [_request(address) for address in ("10.0.0.1", "10.0.0.1", "10.0.0.2")]
    assert [ReadThrottle().allow_request(request, None) for request in requests] == [True, False, True]


def test_requests_at_once_are_all_counted(settings: Settings, clock: Any) -> None:
    settings.THROTTLE_SEND = Rate(7, 60)
    allowed = at_once(lambda _: SendThrottle().allow_request(_request("10.0.0.1"), None), 20)
    assert sum(allowed) == 7


# --- Headers -----------------------------------------------------------------------------------------------------------------


def rate_headers(response: Any) -> list[str | None]:
    return [response.get(f"RateLimit-{name}") for name in ("Limit", "Remaining", "Reset")]


def test_answers_say_how_many_requests_are_left(user: UserClient, settings: Settings, clock: Any) -> None:
    settings.THROTTLE_READ = Rate(3, 60)
    assert rate_headers(user.get(ADDRESS)) == ["3", "2", "20"]
    clock.now += 5.5
    assert rate_headers(user.get(f"{ADDRESS}/nothing")) == ["3", "1", "35"]
    assert rate_headers(user.get(ADDRESS)) == ["3", "0", "55"]
    refused = user.get(ADDRESS)
    assert (refused.status_code, refused["Retry-After"], rate_headers(refused)) == (429, "15", ["3", "0", "55"])
    clock.now += 15
    assert rate_headers(user.get(ADDRESS)) == ["3", "0", "60"]


def test_sends_say_how_many_sends_are_left(user: UserClient, settings: Settings, clock: Any) -> None:
    settings.THROTTLE_SEND = Rate(5, 60)
    conversation = user.post(ADDRESS).json()["id"]
    assert rate_headers(user.post(f"{ADDRESS}/{conversation}/messages", {})) == ["5", "4", "12"]


def test_only_a_refusal_says_what_an_address_may_do(anonymous: UserClient, settings: Settings, clock: Any) -> None:
    settings.THROTTLE_ADDRESS = Rate(1, 60)
    assert [rate_headers(anonymous.get("/nothing")) for _ in range(2)] == [[None] * 3, ["1", "0", "60"]]


def test_without_a_limit_nothing_is_said_of_one(user: UserClient, settings: Settings) -> None:
    settings.THROTTLE_READ = None
    assert rate_headers(user.get(ADDRESS)) == [None] * 3


# --- Addresses ---------------------------------------------------------------------------------------------------------------

NOT_A_USER_S_READ = [
    "/api/conversations",
    "/api/nothing",
    "/nothing",
    "/admin/",
    "/admin/login/",
    "/api/schema",
    "/api/docs",
    "/static/drf_spectacular_sidecar/swagger-ui-dist/swagger-ui.css",
    "/static/nothing.css",
]


def visit(client: UserClient, path: str, **extra: Any) -> Any:
    """Get a page, to its end: a static file is open until then."""
    response = client.get(path, **extra)
    response.close()
    return response


@pytest.mark.parametrize("path", NOT_A_USER_S_READ)
def test_what_is_no_user_s_is_counted_by_address(anonymous: UserClient, settings: Settings, clock: Any, path: str) -> None:
    settings.THROTTLE_ADDRESS = Rate(2, 60)
    unlimited = [visit(anonymous, path).status_code for _ in range(2)]
    assert 429 not in unlimited
    refused = anonymous.get(path)
    assert (refused.status_code, refused.json()["code"], refused["Retry-After"]) == (429, "throttled", "30")
    assert visit(anonymous, path, REMOTE_ADDR="203.0.113.7").status_code == unlimited[0]
    clock.now += 30
    assert visit(anonymous, path).status_code == unlimited[0]


def test_all_that_is_no_user_s_counts_together(anonymous: UserClient, settings: Settings, clock: Any) -> None:
    settings.THROTTLE_ADDRESS = Rate(3, 60)
    paths = ["/api/conversations", "/api/nothing", "/admin/login/", "/api/schema"]
    assert [anonymous.get(path).status_code for path in paths] == [401, 404, 200, 429]


@pytest.mark.parametrize("token", ["made-up", "two words"])
def test_a_token_that_is_not_valid_is_counted_by_address(
    anonymous: UserClient, settings: Settings, clock: Any, token: str
) -> None:
    settings.THROTTLE_ADDRESS = Rate(2, 60)
    assert [UserClient(token).get(ADDRESS).status_code for _ in range(3)] == [401, 401, 429]


def test_what_a_user_is_forbidden_is_counted_by_address(user: UserClient, settings: Settings, clock: Any) -> None:
    settings.THROTTLE_ADDRESS = Rate(2, 60)
    assert [user.get("/api/admin/users").status_code for _ in range(3)] == [403, 403, 429]


def test_a_user_is_served_whatever_the_others_at_this_address_did(
    user: UserClient, anonymous: UserClient, settings: Settings, clock: Any
) -> None:
    settings.THROTTLE_ADDRESS = Rate(1, 60)
    assert [anonymous.get(ADDRESS).status_code for _ in range(2)] == [401, 429]
    assert {user.get(ADDRESS).status_code for _ in range(5)} == {200}
    settings.THROTTLE_READ = None
    assert {user.get(ADDRESS).status_code for _ in range(5)} == {200}


@pytest.mark.parametrize("path", ["/api/health", "/health"])
def test_health_is_never_refused(anonymous: UserClient, settings: Settings, clock: Any, path: str) -> None:
    settings.THROTTLE_ADDRESS = settings.THROTTLE_PROBE = Rate(1, 60)
    assert [anonymous.get("/nothing").status_code for _ in range(2)] == [404, 429]
    assert {anonymous.get(path).status_code for _ in range(4)} == {200}


def test_readiness_has_a_limit_of_its_own(anonymous: UserClient, settings: Settings, clock: Any) -> None:
    settings.THROTTLE_ADDRESS, settings.THROTTLE_PROBE = Rate(1, 60), Rate(3, 60)
    anonymous.get("/nothing")
    assert [anonymous.get("/api/ready").status_code for _ in range(4)] == [200, 200, 200, 429]


def test_probes_need_no_cache(anonymous: UserClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("a probe asked the cache")

    monkeypatch.setattr(ProcessCache, "count", fail)
    assert anonymous.get("/api/health").status_code == 200


def test_by_default_a_probe_a_second_is_nothing(anonymous: UserClient, clock: Any) -> None:
    assert {anonymous.get("/api/health").status_code for _ in range(60)} == {200}


def test_without_limits_nothing_is_counted(anonymous: UserClient, settings: Settings, trips: list[str]) -> None:
    settings.THROTTLE_ADDRESS = settings.THROTTLE_PROBE = None
    for path in (*NOT_A_USER_S_READ, "/api/health"):
        assert visit(anonymous, path).status_code != 429
    assert trips == []


def test_a_request_is_counted_once(user: UserClient, anonymous: UserClient, trips: list[str]) -> None:
    user.get(ADDRESS)
    trips.clear()
    user.get(ADDRESS)
    assert trips == [f"throttle:read:user-{user.user_id}"]
    for path in (*NOT_A_USER_S_READ, "/api/ready"):
        trips.clear()
        visit(anonymous, path)
        assert len(trips) == 1, path


def test_with_a_shared_cache_a_request_is_one_round_trip(
    user: UserClient, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.THROTTLE_READ = Rate(3, 3600)
    trips: list[str] = []
    attempt = SharedRedisCache._attempt

    def note(self: SharedRedisCache, operation: Any, instead: Any) -> Any:
        trips.append(operation.__qualname__)
        return attempt(self, operation, instead)

    with running_valkey() as server:
        settings.CACHES = {
            "default": {"BACKEND": "chatapi.cache.shared_cache.SharedRedisCache", "LOCATION": server.connection_url}
        }
        assert user.get(ADDRESS).headers["RateLimit-Remaining"] == "2"
        monkeypatch.setattr(SharedRedisCache, "_attempt", note)
        for left in ("1", "0"):
            trips.clear()
            assert user.get(ADDRESS).headers["RateLimit-Remaining"] == left
            assert len(trips) == 1
        assert user.get(ADDRESS).status_code == 429
        # The verdict comes from the cache at each request, so a token that is forgotten there is asked about again.
        caches["default"].clear()
        trips.clear()
        assert user.get(ADDRESS).headers["RateLimit-Remaining"] == "2"
        assert len(trips) > 1
        caches["default"].client.connection_pool.disconnect()  # type: ignore[attr-defined]


def test_a_browser_can_read_the_refusal(anonymous: UserClient, settings: Settings, clock: Any) -> None:
    settings.THROTTLE_ADDRESS = Rate(1, 60)
    origin = {"Origin": settings.CORS_ALLOWED_ORIGINS[0]}
    refused = [anonymous.get("/api/nothing", headers=origin) for _ in range(2)][1]
    assert (refused.status_code, refused["Access-Control-Allow-Origin"]) == (429, origin["Origin"])
    assert refused["X-Trace-Id"]
    exposed = refused["Access-Control-Expose-Headers"].split(", ")
    assert {"RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset"} <= set(exposed)
