"""Every error a client sees has the same shape, and says nothing that is not its business."""

from typing import Any

import psycopg
import pytest
from django.db import connection
from django.test import Client

from chatapi.tests.clients import UserClient
from chatapi.tests.failing_urls import PRIVATE

ADDRESS = "/api/conversations"


@pytest.fixture
def failing(settings: Any) -> Client:
    settings.ROOT_URLCONF = "chatapi.tests.failing_urls"
    return Client(raise_request_exception=False)


@pytest.mark.parametrize(
    ("kind", "status", "body"),
    [
        ("bug", 500, {"code": "internal_error", "detail": "The service failed unexpectedly. Try again later."}),
        ("plain/x", 500, {"code": "internal_error", "detail": "The service failed unexpectedly. Try again later."}),
        ("internal", 500, {"code": "internal_error", "detail": "The service failed unexpectedly. Try again later."}),
        ("suspicious", 400, {"code": "invalid", "detail": "The request is invalid."}),
        ("missing", 404, {"code": "not_found", "detail": "Not found, or it belongs to another user."}),
        ("problem", 418, {"code": "teapot", "detail": "I am one.", "message_id": "m"}),
        ("list", 400, {"code": "invalid", "detail": "one two"}),
        ("whole", 400, {"code": "invalid", "detail": "not an object"}),
        (
            "nested",
            400,
            {
                "code": "invalid",
                "detail": "outer: inner: bad",
                "fields": {"outer": ["inner: bad"], "rows": ["a: x", "y"]},
            },
        ),
        ("other", 500, {"code": "error", "detail": "detail"}),
        ("forbidden", 403, {"code": "permission_denied", "detail": "You do not have permission to perform this action."}),
    ],
)
def test_shapes(failing: Client, kind: str, status: int, body: dict[str, Any]) -> None:
    response = failing.get(f"/fail/{kind}")
    assert (response.status_code, response.json()) == (status, body)
    assert response["Content-Type"] == "application/json"
    assert PRIVATE not in response.content.decode()


@pytest.mark.parametrize("kind", ["operational", "interface", "read-only"])
@pytest.mark.parametrize("place", ["", "plain/"])
def test_an_absent_database_is_a_503(failing: Client, place: str, kind: str) -> None:
    response = failing.get(f"/fail/{place}{kind}")
    assert (response.status_code, response.json()["code"]) == (503, "database_unavailable")
    assert int(response["Retry-After"]) > 0
    assert PRIVATE not in response.content.decode()


def test_a_problem_may_say_when_to_try_again(failing: Client) -> None:
    assert failing.get("/fail/problem")["Retry-After"] == "3"


@pytest.mark.parametrize("path", ["/", "/api", "/api/", "/api/nothing", "/nothing/at/all"])
def test_an_unknown_address_is_a_404(anonymous: UserClient, path: str) -> None:
    response = anonymous.get(path)
    assert (response.status_code, response.json()["code"]) == (404, "not_found")


def test_a_method_that_is_not_there_is_a_405(user: UserClient) -> None:
    response = user.put(ADDRESS, {})
    assert (response.status_code, response.json()["code"]) == (405, "method_not_allowed")
    assert {"GET", "POST"} <= {method.strip() for method in response["Allow"].split(",")}


def test_an_unknown_host_is_a_400(anonymous: UserClient) -> None:
    response = anonymous.get("/api/models", headers={"Host": "evil.example"})
    assert (response.status_code, response.json()["code"]) == (400, "invalid")
    assert "evil" not in response.content.decode()


@pytest.mark.parametrize("host", ["localhost:8002", "127.0.0.1", "[::1]:8002", "chat-api"])
def test_the_hosts_of_the_default(anonymous: UserClient, settings: Any, host: str) -> None:
    settings.ALLOWED_HOSTS = ["localhost", "127.0.0.1", "[::1]", "chat-api"]
    assert anonymous.get("/api/models", headers={"Host": host}).status_code == 401


def test_a_body_that_is_too_large_is_a_413(user: UserClient) -> None:
    response = user.post(ADDRESS, {"title": "x" * 300_000})
    assert (response.status_code, response.json()["code"]) == (413, "payload_too_large")


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "nonsense"])
def test_a_body_is_json_whatever_it_calls_itself(user: UserClient, content_type: str) -> None:
    assert user.post(ADDRESS, '{"title": "A title"}', content_type).json()["title"] == "A title"


def test_a_byte_order_mark_before_a_body_is_ignored(user: UserClient) -> None:
    assert user.post(ADDRESS, b'\xef\xbb\xbf{"title": "A title"}').json()["title"] == "A title"


@pytest.mark.parametrize("accept", ["text/html", "text/event-stream", "nonsense", "image/png;q=1"])
def test_errors_are_json_whatever_is_accepted(user: UserClient, accept: str) -> None:
    response = user.get(f"{ADDRESS}/nothing", headers={"Accept": accept})
    assert (response.status_code, response["Content-Type"]) == (404, "application/json")


@pytest.mark.django_db(transaction=True)
def test_a_database_that_goes_away_is_a_503_until_it_is_back(user: UserClient) -> None:
    assert user.get(ADDRESS).status_code == 200
    name = connection.settings_dict["NAME"]
    connection.close()
    # Waiting for the default time adds nothing here.
    patience, connection.pool.timeout = connection.pool.timeout, 0.2
    parameters = connection.get_connection_params() | {"dbname": "postgres"}
    parameters = {key: value for key, value in parameters.items() if key in ("dbname", "user", "password", "host", "port")}
    with psycopg.connect(**parameters, autocommit=True) as elsewhere:
        elsewhere.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        try:
            elsewhere.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
            refused = user.get(ADDRESS)
            ready = user.get("/api/ready")
            health = user.get("/api/health")
        finally:
            elsewhere.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
            connection.pool.timeout = patience
            connection.close()
            connection.close_pool()
    assert (refused.status_code, refused.json()["code"]) == (503, "database_unavailable")
    assert (ready.status_code, ready.json()["ready"]) == (503, False)
    assert health.status_code == 200
    assert user.get(ADDRESS).status_code == 200
