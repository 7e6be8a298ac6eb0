"""OpenAPI descriptions of the completion surface."""

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample

from conversations.surfaces.completion import requests, responses
from conversations.surfaces.openapi import (
    CURSOR,
    GUARDED,
    IDEMPOTENCY_KEY,
    JSON,
    LINK,
    SEND_ERRORS,
    TEXT,
    errors,
    example,
    limit,
    operation,
    path_id,
)

TAG = "completion"

list_conversations = operation(
    "completion_list_conversations",
    "List your conversations, most recent activity first, each with its newest 200 messages",
    TAG,
    parameters=[limit(50), CURSOR, LINK],
    responses={(200, JSON): list[responses.ConversationSchema], **GUARDED, **errors(400)},
)
create_conversation = operation(
    "completion_create_conversation",
    "Create a conversation",
    TAG,
    parameters=[IDEMPOTENCY_KEY],
    request=None,
    responses={(201, JSON): responses.ConversationSchema, **GUARDED, **errors(403, 422)},
)
complete = operation(
    "completion_complete",
    "Send a message and receive the reply as JSON, or with `stream` as a plain text stream",
    TAG,
    parameters=[path_id("conversation_id"), IDEMPOTENCY_KEY],
    request=requests.CompletionBody,
    responses={(200, JSON): responses.MessageSchema, (200, TEXT): OpenApiTypes.STR, **GUARDED, **SEND_ERRORS},
    examples=[example({"message": "hello"}), OpenApiExample("A streamed reply", value="hello", media_type=TEXT)],
)
