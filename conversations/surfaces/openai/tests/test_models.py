"""GET /v1/models/{model}"""

from urllib.parse import quote

import responses
from django.conf import settings as configured

from chatapi.tests.clients import UserClient

UPSTREAM = configured.INFERENCE_SERVICE_URL


def test_a_model_whose_name_has_slashes(user: UserClient, outbound: responses.RequestsMock) -> None:
    outbound.get(f"{UPSTREAM}/models", json={"current_model": "", "models": [{"model_tag": "owner/a model"}]})
    expected = {"id": "owner/a model", "object": "model", "created": 0, "owned_by": "chat-api"}
    assert user.get(f"/v1/models/{quote('owner/a model')}").json() == expected
    assert user.get(f"/v1/models/{quote('owner/a model')}/").json() == expected
    # The openai packages escape the slash.
    assert user.get(f"/v1/models/{quote('owner/a model', safe='')}").json() == expected


def test_a_list_without_models_is_empty(user: UserClient, outbound: responses.RequestsMock) -> None:
    outbound.get(f"{UPSTREAM}/models", json={"current_model": None, "models": None})
    assert user.get("/v1/models").json() == {"object": "list", "data": []}


def test_a_model_that_is_not_listed(user: UserClient, outbound: responses.RequestsMock) -> None:
    outbound.get(f"{UPSTREAM}/models", json={"current_model": "", "models": [{"model_tag": "owner/model"}]})
    response = user.get("/v1/models/owner")
    assert (response.status_code, response.json()) == (
        404,
        {
            "error": {
                "message": "There is no such model, or you may not use it.",
                "type": "invalid_request_error",
                "param": None,
                "code": "not_found",
            }
        },
    )
