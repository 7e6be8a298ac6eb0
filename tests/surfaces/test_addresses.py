"""On every surface a slash at the end of an address, and an id without hyphens, are as good as what is documented."""

import uuid

import pytest

from tests.support.client import ABSENT, Client
from tests.surfaces.operations import OPERATIONS, Operation
from tests.surfaces.test_isolation import BODIES


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.id)
def test_a_slash_at_the_end_changes_nothing(operation: Operation, other_client: Client) -> None:
    names = ("conversation_id", "message_id", "response_id", "item_id", "session_id", "chat_id", "model")
    ids = {name: str(uuid.uuid4()) for name in names}
    path = operation.path.format(**ids) + ("?q=word" if operation.id == "search" else "")
    body = BODIES[operation.id] if operation.method in ("POST", "PUT", "PATCH") else ABSENT
    if isinstance(body, dict):
        body = {name: ids["session_id"] if value == "…" else value for name, value in body.items()}
    answers = []
    for spelling in (path, path.replace("?", "/?") if "?" in path else f"{path}/"):
        answer = other_client.request(operation.method, spelling, body)
        assert "URL does not exist" not in answer.content.decode()
        answers.append((answer.status, "Location" in answer.headers))
    assert answers[0] == answers[1]


def test_ids_may_lack_their_hyphens(client: Client, conversation: str) -> None:
    plain = uuid.UUID(conversation).hex
    assert client.ask(plain, "one").text == "one"
    assert (
        client.open("POST", f"/conversations/{plain}/messages/", {"message": {"content": "two"}, "stream": False}).status == 200
    )
    assert client.request("POST", f"/conversation/completion/{plain}/", {"message": "three"}).status == 200
    read = client.conversation(plain)
    assert read["id"] == conversation
    assert [message["content"] for message in read["messages"]] == ["one", "one", "two", "two", "three", "three"]
    reply = uuid.UUID(read["messages"][-1]["id"]).hex
    assert client.message(plain, reply)["conversation_id"] == conversation
    stream = client.follow(plain, reply)
    stream.finish()
    assert stream.text == "three"
    assert client.request("DELETE", f"/api/conversations/{plain}/").status == 204


def test_an_anonymous_session_is_the_same_with_and_without_hyphens(anonymous_client: Client, make_assistant) -> None:
    key = uuid.uuid4()
    body = {"session_id": key.hex, "message": "hello", "assistant_id": uuid.UUID(make_assistant(public=True)).hex}
    anonymous_client.open("POST", "/api/v1/chat/stream/", body).finish()
    assert len(anonymous_client.get(f"/api/v1/chat/{key}/history/")["messages"]) == 2
