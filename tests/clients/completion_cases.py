"""What the tests of both `openai` packages share for chat completions."""

from typing import Any

import psycopg
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic import TypeAdapter

from tests.support.client import Client

_chunks: TypeAdapter[Any] = TypeAdapter(list[ChatCompletionChunk])


def check_completion(body: dict[str, Any]) -> ChatCompletion:
    """Validate a completion strictly. The packages themselves accept anything."""
    return ChatCompletion.model_validate(body)


def said_in(chunks: list[dict[str, Any]]) -> tuple[str, str, list[str]]:
    """Return the reasoning and the text in valid chunks, and the reasons of the end."""
    _chunks.validate_python(chunks)
    deltas = [choice["delta"] for chunk in chunks for choice in chunk["choices"]]
    reasons = [choice["finish_reason"] for chunk in chunks for choice in chunk["choices"] if choice["finish_reason"]]
    reasoning, text = ("".join(delta.get(name) or "" for delta in deltas) for name in ("reasoning_content", "content"))
    return reasoning, text, reasons


def count_conversations(database_url: str, client: Client) -> int:
    """Count all conversations of a user, also those that are in no list."""
    with psycopg.connect(database_url) as connection:
        owner = (client.token or "").removeprefix("user-")
        (count,) = connection.execute("SELECT count(*) FROM conversations WHERE user_id = %s", [owner]).fetchone() or (0,)
        return int(count)


def rows_of(client: Client, conversation_id: str) -> list[tuple[str, str]]:
    """Return the roles and texts of a conversation, as the primary surface has them, with those of other versions."""
    found = client.get(f"/api/conversations/{conversation_id}/messages?versions=all")
    return [(message["role"], message["content"]) for message in found["items"]]
