"""Objects of the service, as its OpenAPI file describes them."""

from collections.abc import Mapping
from typing import Any, TypedDict

Query = Mapping[str, str | int | bool]


class Conversation(TypedDict):
    id: str
    user_id: str | None
    title: str
    model_tag: str
    is_favorited: bool
    is_archived: bool
    tags: list[str]
    assistant_id: str | None
    name: str | None
    created_at: str
    updated_at: str
    forked_from: str | None
    deleted_at: str | None
    running_message_id: str | None


class Message(TypedDict):
    id: str
    conversation_id: str
    role: str
    content: str
    token_count: int
    model_tag: str
    inference_time_ms: int
    created_at: str
    status: str
    parent_id: str | None
    follows_id: str | None
    version: int
    versions: int
    reply_id: str | None
    is_active: bool
    error_code: str | None
    feedback: int | None
    reasoning: str
    finish_reason: str
    tool_calls: list[dict[str, Any]]
    tool_call_id: str


# `in` is a word of Python, so this one is not a class.
SearchHit = TypedDict(
    "SearchHit",
    {
        "in": str,
        "conversation_id": str,
        "conversation_title": str,
        "message_id": str | None,
        "role": str | None,
        "created_at": str,
        "snippet": str,
    },
)
