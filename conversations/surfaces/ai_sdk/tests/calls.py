"""Calls of the AI SDK surface, as the SDK makes them, and its streams."""

import json
from typing import Any

from tests.support.client import Answer, Client, Stream

CHAT = "/api/chat"


def question(text: str = "hi", message_id: str | None = "q1", **more: Any) -> dict[str, Any]:
    name = {} if message_id is None else {"id": message_id}
    return {**name, "role": "user", "parts": [{"type": "text", "text": text}], **more}


def submit(client: Client, *messages: dict[str, Any], chat: str = "kitchen", **fields: Any) -> Stream:
    body = {"id": chat, "messages": list(messages) or [question()], "trigger": "submit-message", **fields}
    return client.open("POST", CHAT, body)


def ask(client: Client, *messages: dict[str, Any], chat: str = "kitchen", **fields: Any) -> list[Any]:
    """Submit, and read the stream to its end."""
    return events(submit(client, *messages, chat=chat, **fields))


def alone(client: Client, message: dict[str, Any], chat: str = "kitchen", **fields: Any) -> list[Any]:
    """Send only the last message, as the SDK's documentation proposes."""
    return events(client.open("POST", CHAT, {"id": chat, "message": message, **fields}))


def refused(client: Client, **fields: Any) -> Answer:
    """Submit a body that is refused. Fields that are no JSON are left out."""
    body = {"id": "kitchen", "messages": [question()], **fields}
    answer = client.request("POST", CHAT, {name: value for name, value in body.items() if type(value) is not object})
    assert answer.status >= 400, answer
    return answer


def events(stream: Stream) -> list[Any]:
    """Read a stream to its end. Return its events, the last of which is not JSON."""
    assert stream.status == 200, stream.body()
    blocks = stream.body().decode().split("\n\n")
    assert blocks.pop() == ""
    read = [line.removeprefix("data: ") for block in blocks for line in block.split("\n") if not line.startswith(":")]
    return [json.loads(line) for line in read[:-1]] + [read[-1]]


def text_of(found: list[Any], kind: str = "text") -> str:
    return "".join(event["delta"] for event in found[:-1] if event["type"] == f"{kind}-delta")


def chat_messages(client: Client, chat: str = "kitchen") -> list[dict[str, Any]]:
    return list(client.get(f"{CHAT}/{chat}")["messages"])


def texts(messages: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(each["role"], "".join(part["text"] for part in each["parts"])) for each in messages]
