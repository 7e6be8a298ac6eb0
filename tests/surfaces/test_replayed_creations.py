"""A repeated creation says that it created nothing, on every surface that creates conversations."""

import pytest

from tests.support.client import Client

ADDRESSES = ["/api/conversations", "/conversations", "/conversation", "/v1/conversations", "/api/conversations/{id}/fork"]


@pytest.mark.parametrize("address", ADDRESSES)
def test_a_repeated_creation_says_so(address: str, client: Client) -> None:
    path = address.format(id=client.create_conversation())
    body = {"title": "Tea", "model_tag": "default"} if path == "/conversations" else {}
    answers = [client.request("POST", path, body, {"Idempotency-Key": key}) for key in ("one", "one", "two", "one")]
    assert [answer.headers.get("X-Idempotent-Replay") for answer in answers] == [None, "true", None, "true"]
    ids = [answer.json.get("id") or answer.json["conversation_id"] for answer in answers]
    assert (ids[0] == ids[1] == ids[3], ids[0] == ids[2]) == (True, False)
    assert "X-Idempotent-Replay" not in client.request("POST", path, body).headers
