"""PUT /api/conversations/{id}/messages/{mid}/feedback"""

import uuid

import psycopg
import pytest

from tests.support.client import Client


def test_a_reply_is_rated_and_the_rating_taken_back(client: Client, conversation: str, database: psycopg.Connection) -> None:
    reply = client.ask(conversation, "hi").message_id
    path = f"/api/conversations/{conversation}/messages/{reply}/feedback"
    rated = client.request("PUT", path, {"rating": -1, "comment": "too short"})
    assert (rated.status, rated.json["feedback"]) == (200, -1)
    query = "SELECT feedback, feedback_comment FROM messages WHERE id = %s"
    assert database.execute(query, [reply]).fetchone() == (-1, "too short")
    assert client.request("PUT", path, {"rating": 1}).json["feedback"] == 1
    assert client.message(conversation, reply)["feedback"] == 1
    assert client.request("PUT", path, {"rating": None}).json["feedback"] is None
    assert database.execute(query, [reply]).fetchone() == (None, None)


@pytest.mark.parametrize(
    "body", [{}, {"rating": 0}, {"rating": 2}, {"rating": "1"}, {"rating": True}, {"rating": 1, "comment": 7}]
)
def test_malformed_feedback_is_refused(client: Client, conversation: str, body: dict) -> None:
    reply = client.ask(conversation, "hi").message_id
    answer = client.request("PUT", f"/api/conversations/{conversation}/messages/{reply}/feedback", body)
    assert (answer.status, answer.json["code"]) == (400, "invalid")
    assert client.message(conversation, reply)["feedback"] is None


def test_only_replies_of_one_s_own_are_rated(client: Client, other_client: Client, conversation: str) -> None:
    stream = client.ask(conversation, "hi")
    base = f"/api/conversations/{conversation}/messages"
    asked = stream.headers["X-User-Message-Id"]
    assert client.request("PUT", f"{base}/{asked}/feedback", {"rating": 1}).status == 404
    assert client.request("PUT", f"{base}/{uuid.uuid4()}/feedback", {"rating": 1}).status == 404
    assert other_client.request("PUT", f"{base}/{stream.message_id}/feedback", {"rating": 1}).status == 404
    assert other_client.request("POST", f"{base}/{stream.message_id}/activate").status == 404
    assert client.message(conversation, stream.message_id)["feedback"] is None
