"""What the tests of both `openai` packages share: a server whose model thinks, and what its answers must be."""

from typing import Any

from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from tests.support.client import Client
from tests.support.steps import Step, done, thought, tokens

SETTINGS = {"INFERENCE_PROTOCOL": "openai", "INFERENCE_MODEL": "tiny"}
THOUGHTS, WORDS = ("Let me ", "think. 🎈"), ("Good ", "mörning", "!")
REASONING, TEXT = "".join(THOUGHTS), "".join(WORDS)
SCRIPT: tuple[Step, ...] = (*map(thought, THOUGHTS), tokens(*WORDS), done(usage={"prompt_tokens": 7, "completion_tokens": 5}))

_events: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)


def check_response(body: dict[str, Any]) -> Response:
    """Validate a response strictly. The packages themselves accept anything."""
    return Response.model_validate(body)


def check_events(events: list[dict[str, Any]]) -> None:
    """Validate the events of a stream strictly. Their numbers must rise."""
    for event in events:
        _events.validate_python(event)
    numbers = [event["sequence_number"] for event in events]
    assert numbers == sorted(set(numbers))


def said(events: list[dict[str, Any]]) -> tuple[str, str]:
    """Return the reasoning and the text in the deltas of events."""
    kinds = ("response.reasoning_text.delta", "response.output_text.delta")
    reasoning, text = ("".join(event["delta"] for event in events if event["type"] == kind) for kind in kinds)
    return reasoning, text


def questions(client: Client, conversation: str) -> list[str]:
    """Return all questions of a conversation, as the primary surface has them."""
    found = client.get(f"/api/conversations/{conversation.removeprefix('conv_')}/messages?versions=all")
    return [message["content"] for message in found["items"] if message["role"] == "user"]
