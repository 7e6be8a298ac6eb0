"""OpenAPI descriptions of the AI SDK surface."""

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse

from conversations.surfaces.ai_sdk import requests, responses
from conversations.surfaces.openapi import (
    CURSOR,
    GUARDED,
    IDEMPOTENCY_KEY,
    JSON,
    LINK,
    SEND_ERRORS,
    SSE,
    STOPPED_LATER,
    errors,
    example,
    limit,
    operation,
)

TAG = "ai-sdk"
CHAT = OpenApiParameter(
    "chat_id",
    OpenApiTypes.STR,
    OpenApiParameter.PATH,
    description="The id that the client chose for the chat, or the id of any of its user's conversations",
)
EVENT: dict[str, Any] = {
    "type": "object",
    "description": "One event of the stream. It has no id. While the stream is silent, there are comments: single lines "
    "without a blank line after them.",
    "properties": {
        "data": {
            "type": "string",
            "description": "An object with a `type`: `start` with `messageId`, `reasoning-start`, `reasoning-delta` and "
            "`reasoning-end`, `text-start`, `text-delta` and `text-end` with `id` and, for a delta, `delta`, `error` with "
            "`errorText`, `finish` with `messageMetadata`. The last one is not an object but `[DONE]`.",
        }
    },
    "required": ["data"],
}
STREAM: dict[Any, Any] = {(200, SSE): EVENT}
STREAM_EXAMPLE = OpenApiExample(
    "A short reply",
    value='data: {"type":"start","messageId":"0192…"}\n\ndata: {"type":"text-start","id":"0"}\n\n'
    'data: {"type":"text-delta","id":"0","delta":"hello"}\n\ndata: {"type":"text-end","id":"0"}\n\n'
    'data: {"type":"finish","messageMetadata":{"status":"complete","finishReason":"stop"}}\n\ndata: [DONE]\n\n',
    media_type=SSE,
)
MESSAGE = {"id": "m1", "role": "user", "parts": [{"type": "text", "text": "hello"}]}

submit = operation(
    "chat_submit",
    "Send, edit or regenerate, and receive the reply as a stream of UI messages. The first message creates the chat. The ids "
    "of the messages before the question say which branch it belongs to; unknown ones are a 409",
    TAG,
    request=requests.SubmitBody,
    responses={**STREAM, **GUARDED, **errors(403), **SEND_ERRORS},
    examples=[
        example({"id": "kitchen", "messages": [MESSAGE]}),
        STREAM_EXAMPLE,
    ],
)
read_chat = operation(
    "chat_read",
    "Read the newest messages of a chat, oldest first. `Link` leads to older ones. While a reply is running, its question is "
    "the last message: resume the stream to get the reply",
    TAG,
    parameters=[CHAT, limit(1000), CURSOR, LINK],
    responses={(200, JSON): responses.ChatDetailSchema, **GUARDED, **errors(400, 404)},
)
change_chat = operation(
    "chat_change",
    "Rename a chat",
    TAG,
    parameters=[CHAT],
    request=requests.ChatPatchBody,
    responses={(200, JSON): responses.ChatSchema, **GUARDED, **errors(400, 404)},
    examples=[example({"title": "Tea"})],
)
delete_chat = operation(
    "chat_delete",
    "Stop a chat's running reply and delete the chat, or put it in the trash if there is one",
    TAG,
    parameters=[CHAT],
    responses={204: OpenApiResponse(description="It is deleted"), **GUARDED, **errors(404)},
)
resume = operation(
    "chat_resume",
    "Receive the running reply from its start",
    TAG,
    parameters=[CHAT],
    responses={**STREAM, 204: OpenApiResponse(description="No reply is running in this chat"), **GUARDED},
    examples=[STREAM_EXAMPLE],
)
stop = operation(
    "chat_stop",
    "Stop the running reply and keep its text. The answer is the newest reply. With an `Idempotency-Key`, the id of a message: "
    "the reply to that message, also if it has not arrived yet",
    TAG,
    parameters=[CHAT, IDEMPOTENCY_KEY],
    request=None,
    responses={(200, JSON): responses.UIMessageSchema, **STOPPED_LATER, **GUARDED, **errors(400, 404)},
)
