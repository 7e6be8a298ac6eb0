"""A client for the chat API service. `ChatClient` blocks, `AsyncChatClient` is for asyncio; both have the same methods."""

from chat_api_client.aio import AsyncChatClient, AsyncReply
from chat_api_client.client import ChatClient, Reply
from chat_api_client.errors import (
    ChatError,
    ConnectionLost,
    GenerationInProgress,
    IdempotencyMismatch,
    Invalid,
    NotAuthenticated,
    NotFound,
    PermissionDenied,
    ReplyFailed,
    Throttled,
    Unavailable,
)
from chat_api_client.events import Done, Event, Failure, Reasoning, Restarted, Token
from chat_api_client.types import Conversation, Message, Query, SearchHit

__all__ = [
    "AsyncChatClient",
    "AsyncReply",
    "ChatClient",
    "ChatError",
    "ConnectionLost",
    "Conversation",
    "Done",
    "Event",
    "Failure",
    "GenerationInProgress",
    "IdempotencyMismatch",
    "Invalid",
    "Message",
    "NotAuthenticated",
    "NotFound",
    "PermissionDenied",
    "Query",
    "Reasoning",
    "Reply",
    "ReplyFailed",
    "Restarted",
    "SearchHit",
    "Throttled",
    "Token",
    "Unavailable",
]
