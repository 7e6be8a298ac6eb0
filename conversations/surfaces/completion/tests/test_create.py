"""POST /conversation"""

from tests.support.client import Client


def test_a_new_conversation_is_empty(client: Client) -> None:
    answer = client.request("POST", "/conversation")
    assert answer.status == 201
    assert set(answer.json) == {"id", "messages", "created_at"}
    assert answer.json["messages"] == []
    assert answer.json["created_at"]
