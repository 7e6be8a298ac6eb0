"""Calls of the session surface."""

import uuid

from tests.support.client import Client, Stream

STREAM = "/api/v1/chat/stream"


def say(client: Client, session: str, message: str = "hi", headers: dict[str, str] | None = None, **fields) -> Stream:
    return client.open("POST", STREAM, {"session_id": session, "message": message, **fields}, headers)


def history(client: Client, session: str) -> list[tuple[str, str]]:
    messages = client.get(f"/api/v1/chat/{session}/history")["messages"]
    assert all(set(message) == {"id", "text", "sender"} for message in messages)
    return [(message["sender"], message["text"]) for message in messages]


def new_key() -> str:
    return str(uuid.uuid4())
