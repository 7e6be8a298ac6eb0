"""The requests of the service, as data. Both clients send them."""

import uuid
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote

from chat_api_client.types import Message, Query


@dataclass(frozen=True, slots=True)
class Call:
    method: str
    path: str
    json: Any = None
    params: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)

    def at(self, cursor: str) -> "Call":
        """Return the call for the page at a cursor. Empty: the first page."""
        return replace(self, params={**self.params, "cursor": cursor}) if cursor else self


def conversations(filters: Query) -> Call:
    return Call("GET", "/api/conversations", params=in_query(filters))


def conversation(conversation_id: str) -> str:
    return f"/api/conversations/{quote(conversation_id, safe='')}"


def messages(conversation_id: str, all_versions: bool) -> Call:
    wanted = {"limit": "200", **({"versions": "all"} if all_versions else {})}
    return Call("GET", f"{conversation(conversation_id)}/messages", params=wanted)


def message(conversation_id: str, message_id: str) -> str:
    return f"{conversation(conversation_id)}/messages/{quote(message_id, safe='')}"


def create(fields: dict[str, Any], key: str | None) -> Call:
    return Call("POST", "/api/conversations", fields, headers=keyed(key))


def fork(conversation_id: str, message_id: str | None, title: str | None, key: str | None) -> Call:
    wanted = {"message_id": message_id, "title": title}
    return Call("POST", f"{conversation(conversation_id)}/fork", wanted, headers=keyed(key))


def send(conversation_id: str, content: str, key: str | None, options: dict[str, Any]) -> Call:
    body = {"content": content, **options}
    return Call("POST", f"{conversation(conversation_id)}/messages", body, headers=keyed(key))


def edit(conversation_id: str, message_id: str, content: str, key: str | None, options: dict[str, Any]) -> Call:
    return Call("PUT", message(conversation_id, message_id), {"content": content, **options}, headers=keyed(key))


def regenerate(conversation_id: str, message_id: str | None, key: str | None, options: dict[str, Any]) -> Call:
    place = conversation(conversation_id) if message_id is None else message(conversation_id, message_id)
    return Call("POST", f"{place}/regenerate", options, headers=keyed(key))


def go_on(reply: Message, key: str | None, options: dict[str, Any]) -> Call:
    read = [reply["content"], *([reply["reasoning"]] if reply["reasoning"] else [])]
    # How much of the text and of the reasoning is known, in code points.
    begin = {"Last-Event-ID": "-".join(str(len(text)) for text in read)}
    place = message(reply["conversation_id"], reply["id"])
    return Call("POST", f"{place}/continue", options, headers={**keyed(key), **begin})


def follow(conversation_id: str, message_id: str) -> Call:
    return Call("GET", f"{message(conversation_id, message_id)}/stream")


def stop(conversation_id: str, key: str | None = None) -> Call:
    return Call("POST", f"{conversation(conversation_id)}/stop", headers={"Idempotency-Key": key} if key else {})


def rate(conversation_id: str, message_id: str, rating: int | None, comment: str | None) -> Call:
    body = {"rating": rating, **({} if comment is None else {"comment": comment})}
    return Call("PUT", f"{message(conversation_id, message_id)}/feedback", body)


def search(text: str) -> Call:
    return Call("GET", "/api/search", params={"q": text})


def in_query(filters: Query) -> dict[str, str]:
    return {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in filters.items()}


def keyed(key: str | None) -> dict[str, str]:
    """Return the header that lets a request be repeated. Without a key of the caller's, it is a new one."""
    return {"Idempotency-Key": key or str(uuid.uuid4())}
