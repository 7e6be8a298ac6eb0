"""OpenAPI description of chat completions."""

from drf_spectacular.utils import OpenApiExample

from conversations.surfaces.openai.chat.requests import CompletionCreateBody
from conversations.surfaces.openai.chat.responses import CompletionSchema
from conversations.surfaces.openai.operations import GUARDED, RETRIES, TAG, errors
from conversations.surfaces.openai.streams.event_schemas import CHUNK_STREAM_EVENT
from conversations.surfaces.openapi import IDEMPOTENCY_KEY, JSON, SSE, example, header, operation, response_header

CHUNK_EXAMPLE = OpenApiExample(
    "A piece of the reply",
    value={
        "id": "chatcmpl-0192…",
        "object": "chat.completion.chunk",
        "created": 1767000000,
        "model": "default",
        "choices": [{"index": 0, "delta": {"content": "hello"}, "logprobs": None, "finish_reason": None}],
    },
    media_type=SSE,
)

create_completion = operation(
    "openai_create_completion",
    "Ask a question with all that was said before, and receive the answer",
    TAG,
    parameters=[
        IDEMPOTENCY_KEY,
        RETRIES,
        header("X-Conversation-Id", "A conversation to go on with. Default: the one with this history, or a new one"),
        response_header("X-Conversation-Id", "The conversation that the turn was added to", 200),
    ],
    request=CompletionCreateBody,
    responses={
        (200, JSON): CompletionSchema,
        (200, SSE): CHUNK_STREAM_EVENT,
        **GUARDED,
        **errors(400, 403, 404, 409, 413, 422, 502, 504),
    },
    examples=[example({"model": "default", "messages": [{"role": "user", "content": "hello"}]}), CHUNK_EXAMPLE],
)
