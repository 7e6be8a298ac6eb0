"""GET /api/models and POST /api/models/swap"""

import json
from typing import Any

import pytest
import requests
import responses
from django.conf import settings as configured
from django.db import connection

from chatapi.tests.clients import UserClient

LIST, SWAP = "/api/models", "/api/models/swap"
UPSTREAM = configured.INFERENCE_SERVICE_URL
MODELS = {"current_model": "d32", "models": [{"model_tag": "d32", "source": "hf", "path": "/m", "loaded": True}]}


def test_the_models_of_the_inference_service(user: UserClient, outbound: responses.RequestsMock) -> None:
    outbound.get(f"{UPSTREAM}/models", json=MODELS)
    response = user.get(LIST, headers={"X-Trace-Id": "trace-7"})
    assert (response.status_code, response.json()) == (200, MODELS)
    asked = outbound.calls[-1].request
    assert asked.headers["X-Internal-API-Key"] == configured.INTERNAL_API_KEY
    assert asked.headers["X-Trace-Id"] == "trace-7"
    assert user.token not in str(asked.headers)


def test_an_openai_server_s_models(user: UserClient, outbound: responses.RequestsMock, settings: Any) -> None:
    settings.INFERENCE_PROTOCOL = "openai"
    outbound.get(f"{UPSTREAM}/v1/models", json={"data": [{"id": "smol"}]})
    assert user.get(LIST).json() == {
        "current_model": "smol",
        "models": [{"model_tag": "smol", "source": "openai", "path": "", "loaded": True}],
    }


def test_an_admin_swaps(admin: UserClient, outbound: responses.RequestsMock) -> None:
    outbound.post(f"{UPSTREAM}/models/swap", json={"status": "loading", "current_model": "d20"}, status=202)
    response = admin.post(SWAP, {"model_tag": "d20"})
    assert (response.status_code, response.json()) == (202, {"status": "loading", "current_model": "d20"})
    assert json.loads(outbound.calls[-1].request.body or "") == {"model_tag": "d20"}


def test_other_users_can_not_swap(user: UserClient, anonymous: UserClient, outbound: responses.RequestsMock) -> None:
    response = user.post(SWAP, {"model_tag": "d20"})
    assert (response.status_code, response.json()["code"]) == (403, "permission_denied")
    assert anonymous.post(SWAP, {"model_tag": "d20"}).status_code == 401
    assert [call.request.url for call in outbound.calls if UPSTREAM in str(call.request.url)] == []


def test_an_openai_server_has_nothing_to_swap(admin: UserClient, settings: Any) -> None:
    settings.INFERENCE_PROTOCOL = "openai"
    response = admin.post(SWAP, {"model_tag": "d20"})
    assert (response.status_code, response.json()["code"]) == (501, "not_supported")


@pytest.mark.parametrize("body", [{}, {"model_tag": ""}, {"model_tag": 7}, {"model_tag": "x" * 101}, {"model_tag": None}])
def test_a_swap_names_a_model(admin: UserClient, body: Any) -> None:
    response = admin.post(SWAP, body)
    assert (response.status_code, list(response.json()["fields"])) == (400, ["model_tag"])


@pytest.mark.parametrize(
    ("how", "status", "code"),
    [
        ({"status": 503, "json": {"detail": "private"}}, 503, "upstream_unavailable"),
        ({"status": 500, "body": "private"}, 502, "upstream_error"),
        ({"status": 403, "json": {}}, 502, "upstream_refused"),
        ({"status": 200, "body": "private"}, 502, "upstream_error"),
        ({"status": 200, "json": ["private"]}, 502, "upstream_error"),
        ({"status": 302, "headers": {"Location": "http://elsewhere.test"}}, 502, "upstream_error"),
        ({"body": requests.ConnectionError("private")}, 503, "upstream_unavailable"),
        ({"body": requests.ReadTimeout("private")}, 504, "upstream_timeout"),
    ],
)
def test_failures(user: UserClient, outbound: responses.RequestsMock, how: dict[str, Any], status: int, code: str) -> None:
    outbound.get(f"{UPSTREAM}/models", **how)
    response = user.get(LIST)
    assert (response.status_code, response.json()["code"]) == (status, code)
    assert "private" not in response.content.decode()


@pytest.mark.django_db(transaction=True)
def test_no_connection_is_held_while_the_inference_service_thinks(
    user: UserClient, admin: UserClient, outbound: responses.RequestsMock
) -> None:
    held: list[bool] = []

    def answer(request: Any) -> tuple[int, dict[str, str], str]:
        held.append(connection.connection is not None)
        return 200, {}, json.dumps(MODELS)

    outbound.add_callback(responses.GET, f"{UPSTREAM}/models", answer)
    outbound.add_callback(responses.POST, f"{UPSTREAM}/models/swap", answer)
    # Tokens that were never seen: noting their users takes a connection.
    assert user.get(LIST).status_code == 200
    assert admin.post(SWAP, {"model_tag": "d20"}).status_code == 202
    assert held == [False, False]


@pytest.mark.parametrize(("status", "code"), [(429, "upstream_busy"), (503, "upstream_unavailable")])
def test_how_long_the_inference_service_asks_to_wait_is_passed_on(
    user: UserClient, admin: UserClient, outbound: responses.RequestsMock, status: int, code: str
) -> None:
    outbound.get(f"{UPSTREAM}/models", status=status, headers={"Retry-After": "7"})
    # The second answer is the remembered one.
    answers = [user.get(LIST), user.get(LIST)]
    outbound.post(f"{UPSTREAM}/models/swap", status=status, headers={"Retry-After": "7"})
    answers.append(admin.post(SWAP, {"model_tag": "d20"}))
    assert [(answer.json()["code"], answer["Retry-After"]) for answer in answers] == [(code, "7")] * 3
