"""POST /conversations"""

import pytest

from tests.support.client import Client


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"title": "x"},
        {"model_tag": "x"},
        {"title": None, "model_tag": "x"},
        {"title": "x", "model_tag": 7},
        {"title": "x", "model_tag": "y", "is_favorited": True},
        [],
    ],
)
def test_a_conversation_needs_title_and_model_and_nothing_else(client: Client, body: object) -> None:
    answer = client.request("POST", "/conversations", body)
    assert (answer.status, answer.json["code"]) == (400, "invalid")
    assert client.get("/conversations") == []
