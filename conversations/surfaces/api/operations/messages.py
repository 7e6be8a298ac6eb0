"""OpenAPI descriptions of messages and replies."""

from drf_spectacular.extensions import OpenApiAuthenticationExtension

from conversations.surfaces.api import requests
from conversations.surfaces.api.operations.shared import HOW, IN_CONVERSATION, OF_MESSAGE, REPLY
from conversations.surfaces.api.responses.messages import MessageDetailSchema, MessageListSchema, MessageSchema, TicketSchema
from conversations.surfaces.openapi import (
    CURSOR,
    GUARDED,
    IDEMPOTENCY_KEY,
    IF_MATCH,
    IF_NONE_MATCH,
    JSON,
    LIMIT,
    NOT_MODIFIED,
    RESUMED,
    SSE_EXAMPLES,
    STREAMS,
    errors,
    example,
    header,
    operation,
    query,
)


class TicketScheme(OpenApiAuthenticationExtension):
    target_class = "conversations.surfaces.api.tickets.TicketAuthentication"
    name = "ticket"

    def get_security_definition(self, auto_schema: object) -> dict[str, str]:
        return {
            "type": "apiKey",
            "in": "query",
            "name": "ticket",
            "description": "From `POST …/messages/{message_id}/ticket`. Valid for one reply, for 60 s.",
        }


list_messages = operation(
    "list_messages",
    "List messages, oldest first. The first page holds the newest messages",
    "messages",
    parameters=[
        *IF_NONE_MATCH,
        *IN_CONVERSATION,
        LIMIT,
        CURSOR,
        query(
            "versions",
            "`active`: only the active branch (default). `all`: inactive answers and replaced messages too",
            enum=["active", "all"],
        ),
    ],
    responses={(200, JSON): MessageListSchema, **NOT_MODIFIED, **GUARDED, **errors(400, 404)},
)
send_message = operation(
    "send_message",
    "Send a message and receive the reply as a stream",
    "messages",
    parameters=[
        *IN_CONVERSATION,
        *HOW,
        IDEMPOTENCY_KEY,
        *RESUMED,
    ],
    request=requests.SendBody,
    responses=REPLY,
    examples=[example({"content": "hello"}), *SSE_EXAMPLES],
)
read_message = operation(
    "read_message",
    "Read a message",
    "messages",
    parameters=[*IF_NONE_MATCH, *OF_MESSAGE],
    responses={(200, JSON): MessageDetailSchema, **NOT_MODIFIED, **GUARDED, **errors(404)},
)
edit_message = operation(
    "edit_message",
    "Edit a message of yours. This creates a new version and streams a new reply. What followed the old one comes back with "
    "it. A message that waits is changed in place, and returned as JSON; settings that the request leaves out stay",
    "messages",
    parameters=[*OF_MESSAGE, *HOW, IDEMPOTENCY_KEY, IF_MATCH, *RESUMED],
    request=requests.EditBody,
    responses={**REPLY, **errors(412)},
    examples=[example({"content": "hello"}), *SSE_EXAMPLES],
)
remove_queued_message = operation(
    "remove_queued_message",
    "Remove a message that waits for its turn",
    "messages",
    parameters=OF_MESSAGE,
    responses={204: None, **GUARDED, **errors(404, 409)},
)
regenerate_message = operation(
    "regenerate_message",
    "Generate another answer to this message, or to the one that it answers. The old answer, and what follows it, stay active "
    "until the new one is complete",
    "messages",
    parameters=[*OF_MESSAGE, *HOW, IDEMPOTENCY_KEY, *RESUMED],
    request=requests.SamplingBody,
    responses=REPLY,
    examples=[example({"temperature": 0.7}), *SSE_EXAMPLES],
)
continue_reply = operation(
    "continue_reply",
    "Continue the last reply, if it is unfinished: it was stopped, was interrupted, failed with text, or reached its limit. "
    "The stream begins after the text that the reply has. If the continuation fails, the reply gets its former status back",
    "messages",
    parameters=[*OF_MESSAGE, *HOW, IDEMPOTENCY_KEY, *RESUMED],
    request=requests.SamplingBody,
    responses=REPLY,
    examples=[example({"max_tokens": 1024}), *SSE_EXAMPLES],
)
activate_message = operation(
    "activate_message",
    "Make this message active, with what it follows, and with what was active below it when it was left",
    "messages",
    parameters=OF_MESSAGE,
    request=None,
    responses={(200, JSON): MessageSchema, **GUARDED, **errors(400, 404, 409)},
)
follow_reply = operation(
    "follow_reply",
    "Follow a running reply, replay a finished one, or wait for one whose message waits",
    "messages",
    parameters=[
        *OF_MESSAGE,
        header("Last-Event-ID", "Id of the last event that you received. The stream continues after it. `done`: 204"),
        query(
            "after",
            "Like Last-Event-ID: `T`, `T-R` (code points of text and reasoning), `T-R-C` (calls) or `done`. The header wins",
        ),
        query("lastEventId", "The same, as event-source-polyfill sends it when it reconnects. It wins over `after`"),
    ],
    responses={**STREAMS, **GUARDED, **errors(400, 404)},
    examples=[*SSE_EXAMPLES],
)
issue_ticket = operation(
    "issue_ticket",
    "Get a ticket for the stream of a reply, for clients that can't send headers, such as EventSource",
    "messages",
    parameters=OF_MESSAGE,
    request=None,
    responses={(200, JSON): TicketSchema, **GUARDED, **errors(404)},
)
rate_reply = operation(
    "rate_reply",
    "Rate a reply, or remove the rating",
    "messages",
    parameters=[*OF_MESSAGE, IF_MATCH],
    request=requests.FeedbackBody,
    examples=[example({"rating": 1, "comment": "Good tea"})],
    responses={(200, JSON): MessageDetailSchema, **GUARDED, **errors(400, 404, 412, 413)},
)
