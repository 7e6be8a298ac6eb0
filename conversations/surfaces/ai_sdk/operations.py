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
    add_events,
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
TEXT = {"type": "string"}


def _event(kinds: list[str], description: str, fields: dict[str, Any]) -> dict[str, Any]:
    properties = {"type": {"type": "string", "enum": kinds}, **fields}
    return {"type": "object", "description": description, "properties": properties, "required": list(properties)}


UI_MESSAGE_EVENT = add_events(
    "UIMessageEvent",
    "The `data` of one event of the stream. It has no id. While the stream is silent, there are comments: single lines without "
    "a blank line after them. The last event is not an object but `[DONE]`.",
    {
        "UIMessageStartEvent": _event(["start"], "The message begins.", {"messageId": TEXT}),
        "UIMessagePartEvent": _event(
            ["text-start", "text-end", "reasoning-start", "reasoning-end"], "A part begins or ends.", {"id": TEXT}
        ),
        "UIMessageDeltaEvent": _event(
            ["text-delta", "reasoning-delta"], "A piece of the part with this id.", {"id": TEXT, "delta": TEXT}
        ),
        "UIMessageStepEvent": _event(
            ["start-step"],
            "The model goes on after outputs of tools. The id in `start` is that of the message with the calls.",
            {},
        ),
        "UIMessageToolInputStartEvent": _event(
            ["tool-input-start"], "The model calls a tool of the client.", {"toolCallId": TEXT, "toolName": TEXT}
        ),
        "UIMessageToolInputDeltaEvent": _event(
            ["tool-input-delta"], "The arguments of the call, as JSON.", {"toolCallId": TEXT, "inputTextDelta": TEXT}
        ),
        "UIMessageToolInputEvent": _event(
            ["tool-input-available"],
            "The call is whole. `input` has its arguments. It is a text if the model did not write JSON.",
            {"toolCallId": TEXT, "toolName": TEXT, "input": {}},
        ),
        "UIMessageErrorEvent": _event(["error"], "The reply failed, or the stream broke off.", {"errorText": TEXT}),
        "UIMessageFinishEvent": _event(
            ["finish"],
            "The message is whole.",
            {
                "messageMetadata": {
                    "type": "object",
                    "properties": {"status": TEXT, "finishReason": TEXT},
                    "required": ["status", "finishReason"],
                }
            },
        ),
    },
)
STREAM: dict[Any, Any] = {(200, SSE): UI_MESSAGE_EVENT}
STREAM_EXAMPLE = OpenApiExample(
    "A piece of the text", value={"type": "text-delta", "id": "0", "delta": "hello"}, media_type=SSE
)
MESSAGE = {"id": "m1", "role": "user", "parts": [{"type": "text", "text": "hello"}]}

submit = operation(
    "chat_submit",
    "Send, edit or regenerate, and receive the reply as a stream of UI messages. The first message creates the chat. The ids "
    "of the messages before the question say which branch it belongs to; unknown ones are a 409. If the last message is an "
    "answer with outputs of all tools that it calls, the model goes on with them in that message",
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
    responses={204: OpenApiResponse(description="It is deleted"), **GUARDED, **errors(404, 423)},
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
    "the reply to that message, even if the message has not arrived yet",
    TAG,
    parameters=[CHAT, IDEMPOTENCY_KEY],
    request=None,
    responses={(200, JSON): responses.UIMessageSchema, **STOPPED_LATER, **GUARDED, **errors(400, 404)},
)
