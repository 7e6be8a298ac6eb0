"""GET /conversations/{id}"""

import uuid
from datetime import datetime

from conversations.surfaces.contract.tests.calls import CONVERSATION, create
from tests.support.client import Client


def test_a_conversation_has_exactly_the_contract_s_fields(client: Client) -> None:
    conversation = create(client, "A title", "tiny")
    found = client.get(f"/conversations/{conversation}")
    assert set(found) == CONVERSATION
    assert None not in found.values()
    assert (found["title"], found["model_tag"], found["user_id"]) == ("A title", "tiny", client.token[5:])
    assert datetime.fromisoformat(found["created_at"]).tzinfo
    assert [found] == client.get("/conversations")


def test_a_conversation_of_another_user_does_not_exist(client: Client, other_client: Client) -> None:
    conversation = create(client)
    assert other_client.get("/conversations") == []
    for wrong in (conversation, str(uuid.uuid4()), "not-an-id"):
        assert other_client.request("GET", f"/conversations/{wrong}").status == 404
        assert other_client.request("PATCH", f"/conversations/{wrong}", {"title": "mine"}).status == 404
        assert other_client.request("GET", f"/conversations/{wrong}/messages").status == 404
        sent = other_client.request("POST", f"/conversations/{wrong}/messages", {"message": {"content": "hi"}, "stream": False})
        assert sent.status == 404
    assert client.get(f"/conversations/{conversation}")["title"] == "A title"


def test_what_the_contract_does_not_name_is_not_allowed(client: Client) -> None:
    conversation = create(client)
    assert client.request("DELETE", f"/conversations/{conversation}").status == 405
    assert client.request("PUT", f"/conversations/{conversation}", {"title": "x"}).status == 405
