"""How the primary surface is documented: one decorator per operation, so that the views stay readable."""

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema

from conversations.surfaces.api import serializers as shapes

JSON = "application/json"
SSE = "text/event-stream"
NDJSON = "application/x-ndjson"

STREAM_EXAMPLE = OpenApiExample(
    "A short reply",
    value=': stream\n\nid: 5\ndata: {"token": "hello", "gpu": 0}\n\ndata: {"done": true, "status": "complete", '
    '"message_id": "0192…", "token_count": 1, "inference_time_ms": 41}\n\n',
    media_type=SSE,
)


def _query(name: str, description: str, kind: Any = OpenApiTypes.STR, **more: Any) -> OpenApiParameter:
    return OpenApiParameter(name, kind, OpenApiParameter.QUERY, description=description, **more)


def _header(name: str, description: str) -> OpenApiParameter:
    return OpenApiParameter(name, OpenApiTypes.STR, OpenApiParameter.HEADER, description=description)


LIMIT = _query("limit", "1 to 200", OpenApiTypes.INT)
CURSOR = _query("cursor", "The `next` of the page before")
IN_CONVERSATION = [OpenApiParameter("conversation_id", OpenApiTypes.UUID, OpenApiParameter.PATH)]
OF_MESSAGE = [*IN_CONVERSATION, OpenApiParameter("message_id", OpenApiTypes.UUID, OpenApiParameter.PATH)]
HOW = [_header("Prefer", "`respond-async`: 202 at once, and the place to follow the reply")]


def _errors(*statuses: int) -> dict[Any, Any]:
    return {(status, JSON): shapes.InvalidSchema if status == 400 else shapes.ErrorSchema for status in statuses}


GUARDED = _errors(401, 429, 503)
REPLY: dict[Any, Any] = {
    (200, SSE): OpenApiTypes.STR,
    (200, NDJSON): OpenApiTypes.STR,
    (200, JSON): shapes.MessageSchema,
    (202, JSON): shapes.MessageSchema,
    **GUARDED,
    **_errors(400, 404, 409, 413, 422, 502, 504),
}


def _operation(operation_id: str, summary: str, tag: str, **options: Any) -> Any:
    return extend_schema(operation_id=operation_id, summary=summary, tags=[tag], **options)


health = _operation("health", "Is the process alive?", "service", auth=[], responses={(200, JSON): shapes.HealthSchema})
ready = _operation(
    "ready",
    "Can requests be served?",
    "service",
    auth=[],
    responses={(200, JSON): shapes.ReadinessSchema, (503, JSON): shapes.ReadinessSchema},
)
models = _operation(
    "list_models",
    "The models there are",
    "models",
    responses={(200, JSON): shapes.ModelListSchema, **GUARDED, **_errors(502, 504)},
)
swap_model = _operation(
    "swap_model",
    "Load another model (admins only)",
    "models",
    request=shapes.SwapSerializer,
    responses={(202, JSON): shapes.SwapAnswerSchema, **GUARDED, **_errors(400, 403, 413, 501, 502, 504)},
)
list_conversations = _operation(
    "list_conversations",
    "Your conversations, newest activity first",
    "conversations",
    parameters=[
        LIMIT,
        CURSOR,
        _query("offset", "0 to 10,000; `cursor` goes further", OpenApiTypes.INT),
        _query("tz", "The time zone of the groups' days, such as Asia/Kolkata"),
        _query("favorited", "Only favourites, or only others", OpenApiTypes.BOOL),
        _query("q", "Only titles that contain this"),
    ],
    responses={(200, JSON): shapes.ConversationListSchema, **GUARDED, **_errors(400)},
)
create_conversation = _operation(
    "create_conversation",
    "Begin a conversation",
    "conversations",
    request=shapes.ConversationCreateSerializer,
    responses={(201, JSON): shapes.ConversationSchema, **GUARDED, **_errors(400, 413)},
)
read_conversation = _operation(
    "read_conversation",
    "A conversation and its messages: all of them, or with `limit` the newest",
    "conversations",
    parameters=[*IN_CONVERSATION, LIMIT, CURSOR],
    responses={(200, JSON): shapes.ConversationDetailSchema, **GUARDED, **_errors(400, 404)},
)
replace_conversation = _operation(
    "replace_conversation",
    "Change a conversation; the title is required",
    "conversations",
    parameters=IN_CONVERSATION,
    request=shapes.ConversationPutSerializer,
    responses={(200, JSON): shapes.ConversationSchema, **GUARDED, **_errors(400, 404, 413)},
)
change_conversation = _operation(
    "change_conversation",
    "Change some of a conversation",
    "conversations",
    parameters=IN_CONVERSATION,
    request=shapes.ConversationPatchSerializer,
    responses={(200, JSON): shapes.ConversationSchema, **GUARDED, **_errors(400, 404, 413)},
)
delete_conversation = _operation(
    "delete_conversation",
    "Delete a conversation with its messages; a running reply is stopped first",
    "conversations",
    parameters=IN_CONVERSATION,
    responses={204: None, **GUARDED, **_errors(404)},
)
stop_reply = _operation(
    "stop_reply",
    "Stop the running reply; what came of it is kept",
    "conversations",
    parameters=IN_CONVERSATION,
    request=None,
    responses={(200, JSON): shapes.MessageSchema, **GUARDED, **_errors(404)},
)
regenerate = _operation(
    "regenerate",
    "Another answer to the last user message; the old one counts until the new one is whole",
    "conversations",
    parameters=[*IN_CONVERSATION, *HOW],
    request=shapes.SamplingSerializer,
    responses=REPLY,
    examples=[STREAM_EXAMPLE],
)
list_messages = _operation(
    "list_messages",
    "A page of messages, oldest first; the first page holds the newest",
    "messages",
    parameters=[
        *IN_CONVERSATION,
        LIMIT,
        CURSOR,
        _query("versions", "`all`: answers that do not count, too", enum=["active", "all"]),
    ],
    responses={(200, JSON): shapes.MessageListSchema, **GUARDED, **_errors(400, 404)},
)
send_message = _operation(
    "send_message",
    "Send a message and receive the reply as a stream",
    "messages",
    parameters=[
        *IN_CONVERSATION,
        *HOW,
        _header(
            "Idempotency-Key", "A send that is repeated with the same key creates nothing and follows the first one's reply"
        ),
    ],
    request=shapes.SendSerializer,
    responses=REPLY,
    examples=[STREAM_EXAMPLE],
)
read_message = _operation(
    "read_message",
    "One message",
    "messages",
    parameters=OF_MESSAGE,
    responses={(200, JSON): shapes.MessageSchema, **GUARDED, **_errors(404)},
)
edit_message = _operation(
    "edit_message",
    "Change the last message that you sent: a new version of the turn, with a new reply as a stream",
    "messages",
    parameters=[*OF_MESSAGE, *HOW],
    request=shapes.SendSerializer,
    responses=REPLY,
    examples=[STREAM_EXAMPLE],
)
activate_message = _operation(
    "activate_message",
    "Make this answer the one that counts, or switch the last turn to this version of it",
    "messages",
    parameters=OF_MESSAGE,
    request=None,
    responses={(200, JSON): shapes.MessageSchema, **GUARDED, **_errors(400, 404, 409)},
)
follow_reply = _operation(
    "follow_reply",
    "Follow a running reply, or replay an ended one",
    "messages",
    parameters=[
        *OF_MESSAGE,
        _header("Last-Event-ID", "The id of the last event that you have: the stream goes on behind it"),
        _query("after", "The same as a number of characters (code points)", OpenApiTypes.INT),
    ],
    responses={(200, SSE): OpenApiTypes.STR, (200, NDJSON): OpenApiTypes.STR, **GUARDED, **_errors(400, 404)},
    examples=[STREAM_EXAMPLE],
)
