"""OpenAPI descriptions of the contract surface."""

from typing import Any

from conversations.surfaces.contract import requests, responses
from conversations.surfaces.openapi import (
    CURSOR,
    GUARDED,
    IDEMPOTENCY_KEY,
    JSON,
    LIMIT,
    LINK,
    NO_MORE_EVENTS,
    RESUMED,
    SEND_ERRORS,
    SSE,
    SSE_EXAMPLES,
    STREAM_EVENT,
    errors,
    example,
    limit,
    operation,
    path_id,
)

TAG = "contract"
IN_CONVERSATION = [path_id("conversation_id")]
ONE_CONVERSATION: dict[Any, Any] = {(200, JSON): responses.ConversationSchema, **GUARDED, **errors(404)}

health = operation(
    "contract_health",
    "Report whether the service can serve requests",
    TAG,
    auth=[],
    responses={(200, JSON): responses.HealthSchema, (503, JSON): responses.HealthSchema, **errors(429)},
)
list_conversations = operation(
    "contract_list_conversations",
    "List your conversations, most recent activity first",
    TAG,
    parameters=[LIMIT, CURSOR, LINK],
    responses={(200, JSON): list[responses.ConversationSchema], **GUARDED, **errors(400)},
)
create_conversation = operation(
    "contract_create_conversation",
    "Create a conversation",
    TAG,
    parameters=[IDEMPOTENCY_KEY],
    request=requests.ConversationCreateBody,
    examples=[example({"title": "Tea", "model_tag": "default"})],
    responses={(201, JSON): responses.ConversationSchema, **GUARDED, **errors(400, 403, 413, 422)},
)
read_conversation = operation(
    "contract_read_conversation", "Read a conversation", TAG, parameters=IN_CONVERSATION, responses=ONE_CONVERSATION
)
change_conversation = operation(
    "contract_change_conversation",
    "Change the title or the model",
    TAG,
    parameters=IN_CONVERSATION,
    request=requests.ConversationPatchBody,
    examples=[example({"title": "Green tea"})],
    responses={**ONE_CONVERSATION, **errors(400, 413)},
)
list_messages = operation(
    "contract_list_messages",
    "List the messages of the active branch, oldest first",
    TAG,
    parameters=[*IN_CONVERSATION, limit(1000), CURSOR, LINK],
    responses={(200, JSON): list[responses.MessageSchema], **GUARDED, **errors(400, 404)},
)
send_message = operation(
    "contract_send_message",
    "Send a message and receive the reply as a stream, or with `stream: false` as JSON",
    TAG,
    parameters=[*IN_CONVERSATION, IDEMPOTENCY_KEY, *RESUMED],
    request=requests.SendBody,
    responses={(200, JSON): responses.MessageSchema, (200, SSE): STREAM_EVENT, **NO_MORE_EVENTS, **GUARDED, **SEND_ERRORS},
    examples=[example({"message": {"content": "hello"}, "stream": False}), *SSE_EXAMPLES],
)
