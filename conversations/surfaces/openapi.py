"""What the OpenAPI descriptions of all surfaces share: media types, parameters, streams, errors, closed schemas."""

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, ClassVar, TypeVar
from uuid import UUID

from drf_spectacular.plumbing import build_choice_description_list
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema
from msgspec import UNSET, Meta, Struct, UnsetType

from chatapi.api.openapi import as_component
from conversations.surfaces.error_codes import ERROR_CODES, STREAM_CODES

View = TypeVar("View", bound=Callable[..., Any])

JSON = "application/json"
SSE = "text/event-stream"
NDJSON = "application/x-ndjson"
TEXT = "text/plain"

# The groups of operations, in the order of importance.
TAGS = [
    {"name": "conversations", "description": "Create, list, read, change and delete conversations; stop and regenerate."},
    {"name": "messages", "description": "Send, edit and read messages, and follow replies."},
    {"name": "search", "description": "Search the messages of your conversations."},
    {"name": "models", "description": "The models that users may choose."},
    {"name": "assistants", "description": "Ready-made system prompts."},
    {"name": "instructions", "description": "What the model is told in all of your conversations."},
    {"name": "usage", "description": "The tokens that you have used, and your quota."},
    {"name": "service", "description": "Health, readiness, and what only admins may read."},
    {"name": "contract", "description": "The platform's published contract, for clients that were written for it."},
    {"name": "sessions", "description": "Conversations that a front-end names itself, with or without a login."},
    {"name": "completion", "description": "Plain text, for small scripts."},
    {"name": "ai-sdk", "description": "For Vercel's AI SDK (`useChat`)."},
    {"name": "openai", "description": "For the official `openai` packages: Responses, Conversations, models."},
]

# Schemas that no serializer has. `complete_description` adds them to the OpenAPI file.
COMPONENTS: dict[str, Any] = {}


def add_events(name: str, description: str, events: dict[str, Any]) -> dict[str, Any]:
    """Add the schemas of the objects in a stream, and `name` for any of them. Return the reference to that."""
    references = [{"$ref": f"#/components/schemas/{kind}"} for kind in events]
    COMPONENTS.update(events)
    COMPONENTS[name] = {"description": description, "oneOf": references}
    return {"$ref": f"#/components/schemas/{name}"}


# The objects in a stream.
STREAM_EVENTS: dict[str, Any] = {
    "TokenEvent": {
        "type": "object",
        "description": "A piece of the text, with any further fields from the inference service.",
        "properties": {"token": {"type": "string"}},
        "required": ["token"],
        "additionalProperties": True,
    },
    "ReasoningEvent": {
        "type": "object",
        "description": "A piece of what the model thinks. Only on the primary surface.",
        "properties": {"reasoning": {"type": "string"}},
        "required": ["reasoning"],
    },
    "ToolCallEvent": {
        "type": "object",
        "description": "A call of a tool that the client is to run. It comes after all text. Only on the primary surface.",
        "properties": {
            "tool_call": {
                "type": "object",
                "properties": {name: {"type": "string"} for name in ("id", "name", "arguments")},
                "required": ["id", "name", "arguments"],
            }
        },
        "required": ["tool_call"],
    },
    "ErrorEvent": {
        "type": "object",
        "description": "The reply failed. The text before it is saved. `done` comes next, unless the stream itself failed.",
        "properties": {
            "error": {"type": "string", "enum": list(STREAM_CODES)},
            "detail": {"type": "string"},
            "retry_after": {
                "type": "integer",
                "description": "Seconds until the model may be asked again, where that is known.",
            },
        },
        "required": ["error", "detail"],
    },
    "DoneEvent": {
        "type": "object",
        "description": "The end of the reply: the last event.",
        "properties": {
            "done": {"type": "boolean", "enum": [True]},
            "status": {"type": "string", "enum": ["complete", "stopped", "failed", "interrupted"]},
            "message_id": {"type": "string", "format": "uuid"},
            "token_count": {"type": ["integer", "null"]},
            "inference_time_ms": {"type": ["integer", "null"]},
            "finish_reason": {"type": "string", "description": "Why the model ended; empty if it gave no reason."},
        },
        "required": ["done", "status", "message_id", "finish_reason"],
    },
}
STREAM_EVENT = add_events(
    "StreamEvent",
    "The `data` of one event of the stream, or one line. An event has an id: the length of the text after it, in code points; "
    "if there is reasoning, `T-R` with the lengths of both; with calls of tools `T-R-C`, where C is their number; of the last "
    "event `done`. Errors have no id. A comment (a single line without a blank line after it) comes first, and further "
    "comments while the stream is silent.",
    STREAM_EVENTS,
)
# For a stop with the key of a send.
STOPPED_LATER: dict[Any, Any] = {
    202: OpenApiResponse(description="The send with this key has not arrived. Its reply will be stopped when it does.")
}
# For clients that already have `done`. Only a 204 stops an EventSource from reconnecting.
NO_MORE_EVENTS: dict[Any, Any] = {204: OpenApiResponse(description="Your last event is `done`, so there are no more")}
STREAMS: dict[Any, Any] = {(200, SSE): STREAM_EVENT, (200, NDJSON): STREAM_EVENT, **NO_MORE_EVENTS}

TOKEN = {"token": "hello", "gpu": 0}
DONE = {"done": True, "status": "complete", "message_id": "01920000-0000-7000-8000-000000000000", "token_count": 1}
END = {**DONE, "inference_time_ms": 41, "finish_reason": "stop"}
STREAM_EXAMPLES = {
    media_type: [
        OpenApiExample(f"A token{suffix}", value=TOKEN, media_type=media_type),
        OpenApiExample(f"The end{suffix}", value=END, media_type=media_type),
    ]
    for media_type, suffix in ((SSE, ""), (NDJSON, ", as a line"))
}
SSE_EXAMPLES, NDJSON_EXAMPLES = STREAM_EXAMPLES[SSE], STREAM_EXAMPLES[NDJSON]


CODES = list(ERROR_CODES)


class ErrorSchema(Struct):
    ref_name: ClassVar = "Error"

    detail: Annotated[str, Meta(description="A sentence for people.")]
    code: Annotated[
        str,
        Meta(
            description=build_choice_description_list([(code, meaning) for code, (_, meaning) in ERROR_CODES.items()]),
            extra_json_schema={"type": "string", "enum": CODES},
        ),
    ]


class UpstreamErrorSchema(ErrorSchema):
    ref_name: ClassVar = "UpstreamError"

    conversation_id: Annotated[UUID | UnsetType, Meta(description="The conversation, if the message was saved.")] = UNSET
    message_id: Annotated[UUID | UnsetType, Meta(description="The failed reply, if the message was saved.")] = UNSET
    user_message_id: Annotated[UUID | UnsetType, Meta(description="The message, if it was saved.")] = UNSET


class InvalidSchema(UpstreamErrorSchema):
    ref_name: ClassVar = "Invalid"

    fields: Annotated[dict[str, list[str]] | UnsetType, Meta(description="What is wrong with each field.")] = UNSET


class ConflictSchema(ErrorSchema):
    ref_name: ClassVar = "Conflict"

    message_id: Annotated[
        UUID | UnsetType | None,
        Meta(description="`generation_in_progress`: the running reply, or null if it has just ended."),
    ] = UNSET
    message_ids: Annotated[
        list[str] | UnsetType,
        Meta(description="`history_mismatch`: the ids of the chat's newest messages, at most 1,000, oldest first."),
    ] = UNSET


class TooManySchema(ErrorSchema):
    ref_name: ClassVar = "TooMany"

    resets_at: Annotated[datetime | UnsetType, Meta(description="`quota_exceeded`: when the quota is renewed.")] = UNSET


# What the errors of a status have besides `detail` and `code`.
ERROR_SCHEMAS: dict[int, type[ErrorSchema]] = {
    400: InvalidSchema,
    409: ConflictSchema,
    429: TooManySchema,
    502: UpstreamErrorSchema,
    503: UpstreamErrorSchema,
    504: UpstreamErrorSchema,
}


def complete_description(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Add the schemas of the objects in streams and the tags, and say which operations need no token. The generator's hook."""
    for path in result["paths"].values():
        for described in path.values():
            described.setdefault("security", [])
    schemas = result["components"]["schemas"]
    assert not schemas.keys() & COMPONENTS.keys()
    schemas |= COMPONENTS
    result["components"]["schemas"] = dict(sorted(schemas.items()))
    result["tags"] = TAGS
    return result


def query(name: str, description: str, kind: Any = OpenApiTypes.STR, **more: Any) -> OpenApiParameter:
    return OpenApiParameter(name, kind, OpenApiParameter.QUERY, description=description, **more)


def header(name: str, description: str) -> OpenApiParameter:
    return OpenApiParameter(name, OpenApiTypes.STR, OpenApiParameter.HEADER, description=description)


def path_id(name: str) -> OpenApiParameter:
    return OpenApiParameter(name, OpenApiTypes.UUID, OpenApiParameter.PATH)


def errors(*statuses: int) -> dict[Any, Any]:
    return {(status, JSON): ERROR_SCHEMAS.get(status, ErrorSchema) for status in statuses}


def operation(operation_id: str, summary: str, tag: str, **options: Any) -> Callable[[View], View]:
    """Return a decorator that describes a view's method in the OpenAPI file."""

    def describe(view: View) -> View:
        parameters = [*options.pop("parameters", []), RETRY_AFTER]
        responses = {status: as_component(response) for status, response in options.pop("responses").items()}
        if "request" in options:
            options["request"] = as_component(options["request"])
        described: View = extend_schema(
            operation_id=operation_id, summary=summary, tags=[tag], parameters=parameters, responses=responses, **options
        )(view)
        return described

    return describe


def limit(most: int, default: int | None = None) -> OpenApiParameter:
    bounds: dict[str, Any] = {"type": "integer", "minimum": 1, "maximum": most}
    return query("limit", f"1 to {most:,}", bounds if default is None else {**bounds, "default": default})


def response_header(name: str, description: str, *statuses: int) -> OpenApiParameter:
    return OpenApiParameter(name, OpenApiTypes.STR, OpenApiParameter.HEADER, response=list(statuses), description=description)


def example(value: dict[str, Any]) -> OpenApiExample:
    """Return the body that Swagger's "Try it out" begins with."""
    return OpenApiExample("A request", value=value, request_only=True)


LIMIT = limit(200)
RETRY_AFTER = response_header("Retry-After", "Seconds until the request may succeed, where that is known", 429, 502, 503)
STARTED_REPLY = [
    response_header("X-Message-Id", "Id of the reply", 200, 202),
    response_header("Content-Location", "The reply. With `/stream` behind it: its stream", 200, 202),
]
CURSOR = query("cursor", "The `next` value of the previous page")
# Of reads, and of changes (see `conditional`).
IF_NONE_MATCH = (
    header("If-None-Match", "The `ETag` of what you have. If it is still the same, the answer is a 304"),
    response_header("ETag", "Names this state of the response", 200),
)
NOT_MODIFIED: dict[Any, Any] = {304: OpenApiResponse(description="It has not changed")}
IF_MATCH = header("If-Match", "The `ETag` of what you have read. If it has changed since, the answer is a 412")

IDEMPOTENCY_KEY = header(
    "Idempotency-Key",
    "Makes retries safe: a repeated request with the same key creates nothing a second time. A repeated send follows the "
    "existing reply. If that reply failed or was interrupted before its first word, the message gets a new reply",
)
RESUMED = [
    header(
        "Last-Event-ID",
        "For a repeated request with an Idempotency-Key: the id of the last event that you received. The stream continues "
        "after it. `done`: 204",
    ),
    query("lastEventId", "Like Last-Event-ID, for clients that can't send the header. The header wins"),
    query("after", "The same. Both others win"),
]
LINK = OpenApiParameter(
    "Link",
    OpenApiTypes.STR,
    OpenApiParameter.HEADER,
    response=[200],
    description='`<…>; rel="next"`: the next page, as a URL relative to this one. Absent on the last page',
)
# Errors of every operation that requires a token.
GUARDED = errors(401, 429, 503)
# Further errors of sending a message.
SEND_ERRORS = errors(400, 404, 409, 413, 422, 502, 504)
