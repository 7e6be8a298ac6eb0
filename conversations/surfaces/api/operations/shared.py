"""Parts of several descriptions."""

from typing import Any

from conversations.surfaces.api.responses.messages import MessageDetailSchema
from conversations.surfaces.openapi import (
    GUARDED,
    JSON,
    SEND_ERRORS,
    STARTED_REPLY,
    STREAMS,
    header,
    path_id,
)

IN_CONVERSATION = [path_id("conversation_id")]
OF_MESSAGE = [*IN_CONVERSATION, path_id("message_id")]
HOW = [
    header("Prefer", "`respond-async`: answer 202 without waiting for the reply; `Content-Location` says where to follow it"),
    *STARTED_REPLY,
]
REPLY: dict[Any, Any] = {
    # JSON comes first, because generators of clients take the first type.
    (200, JSON): MessageDetailSchema,
    **STREAMS,
    (202, JSON): MessageDetailSchema,
    **GUARDED,
    **SEND_ERRORS,
}
