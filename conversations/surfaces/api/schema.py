"""How the primary surface is documented: one decorator per operation, so that the views stay readable."""

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample

from conversations.surfaces.api import serializers as shapes
from conversations.surfaces.api import shapes as more
from conversations.surfaces.documentation import (
    CURSOR,
    GUARDED,
    IDEMPOTENCY_KEY,
    JSON,
    LIMIT,
    RESUMED,
    SEND_ERRORS,
    STREAMS,
    errors,
    header,
    operation,
    path_id,
    query,
)
from conversations.surfaces.documentation import SSE_EXAMPLE as STREAM_EXAMPLE

IN_CONVERSATION = [path_id("conversation_id")]
OF_MESSAGE = [*IN_CONVERSATION, path_id("message_id")]
HOW = [header("Prefer", "`respond-async`: 202 at once, and the place to follow the reply")]
REPLY: dict[Any, Any] = {
    **STREAMS,
    (200, JSON): shapes.MessageDetailSchema,
    (202, JSON): shapes.MessageDetailSchema,
    **GUARDED,
    **SEND_ERRORS,
}


health = operation(
    "health",
    "Is the process alive?",
    "service",
    auth=[],
    responses={(200, JSON): shapes.HealthSchema, **errors(429)},
)
ready = operation(
    "ready",
    "Can requests be served?",
    "service",
    auth=[],
    responses={(200, JSON): shapes.ReadinessSchema, (503, JSON): shapes.ReadinessSchema, **errors(429)},
)
models = operation(
    "list_models",
    "The models there are",
    "models",
    responses={(200, JSON): shapes.ModelListSchema, **GUARDED, **errors(502, 504)},
)
swap_model = operation(
    "swap_model",
    "Load another model (admins only)",
    "models",
    request=shapes.SwapSerializer,
    responses={(202, JSON): shapes.SwapAnswerSchema, **GUARDED, **errors(400, 403, 413, 501, 502, 504)},
)
list_conversations = operation(
    "list_conversations",
    "Your conversations, newest activity first",
    "conversations",
    parameters=[
        LIMIT,
        CURSOR,
        query("offset", "0 to 10,000; `cursor` goes further", OpenApiTypes.INT),
        query("tz", "The time zone of the groups' days, such as Asia/Kolkata"),
        query("favorited", "Only favourites, or only others", OpenApiTypes.BOOL),
        query("q", "Only titles that contain this"),
    ],
    responses={(200, JSON): shapes.ConversationListSchema, **GUARDED, **errors(400)},
)
create_conversation = operation(
    "create_conversation",
    "Begin a conversation",
    "conversations",
    request=shapes.ConversationCreateSerializer,
    responses={(201, JSON): shapes.ConversationSchema, **GUARDED, **errors(400, 403, 404, 413)},
)
read_conversation = operation(
    "read_conversation",
    "A conversation and its newest messages: at most 1,000 or 4 MiB of text, or `limit`; `next` leads to older ones",
    "conversations",
    parameters=[*IN_CONVERSATION, LIMIT, CURSOR],
    responses={(200, JSON): shapes.ConversationDetailSchema, **GUARDED, **errors(400, 404)},
)
replace_conversation = operation(
    "replace_conversation",
    "Change a conversation; the title is required",
    "conversations",
    parameters=IN_CONVERSATION,
    request=shapes.ConversationPutSerializer,
    responses={(200, JSON): shapes.ConversationSchema, **GUARDED, **errors(400, 404, 413)},
)
change_conversation = operation(
    "change_conversation",
    "Change some of a conversation",
    "conversations",
    parameters=IN_CONVERSATION,
    request=shapes.ConversationPatchSerializer,
    responses={(200, JSON): shapes.ConversationSchema, **GUARDED, **errors(400, 404, 413)},
)
delete_conversation = operation(
    "delete_conversation",
    "Delete a conversation with its messages; a running reply is stopped first",
    "conversations",
    parameters=IN_CONVERSATION,
    responses={204: None, **GUARDED, **errors(404)},
)
stop_reply = operation(
    "stop_reply",
    "Stop the running reply; what came of it is kept",
    "conversations",
    parameters=IN_CONVERSATION,
    request=None,
    responses={(200, JSON): shapes.MessageDetailSchema, **GUARDED, **errors(404)},
)
regenerate = operation(
    "regenerate",
    "Another answer to the last user message; the old one counts until the new one is whole",
    "conversations",
    parameters=[*IN_CONVERSATION, *HOW, IDEMPOTENCY_KEY, RESUMED],
    request=shapes.SamplingSerializer,
    responses=REPLY,
    examples=[STREAM_EXAMPLE],
)
list_messages = operation(
    "list_messages",
    "A page of messages, oldest first; the first page holds the newest",
    "messages",
    parameters=[
        *IN_CONVERSATION,
        LIMIT,
        CURSOR,
        query("versions", "`all`: answers that do not count, too", enum=["active", "all"]),
    ],
    responses={(200, JSON): shapes.MessageListSchema, **GUARDED, **errors(400, 404)},
)
send_message = operation(
    "send_message",
    "Send a message and receive the reply as a stream",
    "messages",
    parameters=[
        *IN_CONVERSATION,
        *HOW,
        IDEMPOTENCY_KEY,
        RESUMED,
    ],
    request=shapes.SendSerializer,
    responses=REPLY,
    examples=[STREAM_EXAMPLE],
)
read_message = operation(
    "read_message",
    "One message",
    "messages",
    parameters=OF_MESSAGE,
    responses={(200, JSON): shapes.MessageDetailSchema, **GUARDED, **errors(404)},
)
edit_message = operation(
    "edit_message",
    "Change the last message that you sent: a new version of the turn, with a new reply as a stream",
    "messages",
    parameters=[*OF_MESSAGE, *HOW, IDEMPOTENCY_KEY, RESUMED],
    request=shapes.SendSerializer,
    responses=REPLY,
    examples=[STREAM_EXAMPLE],
)
activate_message = operation(
    "activate_message",
    "Make this answer the one that counts, or switch the last turn to this version of it",
    "messages",
    parameters=OF_MESSAGE,
    request=None,
    responses={(200, JSON): shapes.MessageSchema, **GUARDED, **errors(400, 404, 409)},
)
follow_reply = operation(
    "follow_reply",
    "Follow a running reply, or replay an ended one",
    "messages",
    parameters=[
        *OF_MESSAGE,
        header("Last-Event-ID", "The id of the last event that you have: the stream goes on behind it. `done`: 204"),
        query("after", "The same as a number of characters (code points)", OpenApiTypes.INT),
    ],
    responses={**STREAMS, **GUARDED, **errors(400, 404)},
    examples=[STREAM_EXAMPLE],
)
rate_reply = operation(
    "rate_reply",
    "Say what you think of a reply, or take it back",
    "messages",
    parameters=OF_MESSAGE,
    request=more.FeedbackSerializer,
    responses={(200, JSON): shapes.MessageDetailSchema, **GUARDED, **errors(400, 404, 413)},
)
list_assistants = operation(
    "list_assistants",
    "The assistants that you may use, by name",
    "assistants",
    responses={(200, JSON): more.AssistantListSchema, **GUARDED},
)
search = operation(
    "search",
    "Your own messages that contain all these words, best first among the newest",
    "messages",
    parameters=[
        query(
            "q",
            'Words; "…" is a phrase, - excludes, or. Text in a script without spaces between words is looked for as it is.',
            required=True,
        ),
        query("limit", "1 to 50", OpenApiTypes.INT),
        CURSOR,
    ],
    responses={(200, JSON): more.HitListSchema, **GUARDED, **errors(400)},
    examples=[
        OpenApiExample(
            "A hit",
            value={
                "items": [
                    {
                        "message_id": "01920000-0000-7000-8000-000000000002",
                        "conversation_id": "01920000-0000-7000-8000-000000000001",
                        "conversation_title": "Tea",
                        "role": "user",
                        "created_at": "2026-11-20T09:30:00Z",
                        "snippet": "How long must &lt;green&gt; <mark>tea</mark> steep?",
                    }
                ],
                "limit": 20,
                "next": None,
            },
            response_only=True,
            status_codes=["200"],
        )
    ],
)
usage = operation(
    "usage",
    "Your messages, tokens and inference time per day, deleted ones included",
    "service",
    parameters=[
        query("days", "So many days until `to`: 1 to 92; 30 where nothing is said", OpenApiTypes.INT),
        query("from", "The first day, at most 91 days before the last", OpenApiTypes.DATE),
        query("to", "The last day; today where nothing is said", OpenApiTypes.DATE),
        query("tz", "The time zone of the days, such as Asia/Kolkata"),
    ],
    responses={(200, JSON): more.UsageReportSchema, **GUARDED, **errors(400)},
)
list_users = operation(
    "list_users",
    "Users with what they have, by id, and totals (admins only). Everyone in the predecessor's table `users` is listed too",
    "service",
    parameters=[query("limit", "1 to 100", OpenApiTypes.INT), CURSOR],
    responses={(200, JSON): more.UserListSchema, **GUARDED, **errors(400, 403)},
)
