"""What the OpenAPI descriptions of all surfaces share: media types, parameters, streams, errors, closed schemas."""

from collections.abc import Callable
from typing import Any, TypeVar

from drf_spectacular.extensions import OpenApiSerializerExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers

View = TypeVar("View", bound=Callable[..., Any])

JSON = "application/json"
SSE = "text/event-stream"
NDJSON = "application/x-ndjson"
TEXT = "text/plain"

FRAME = (
    'An object. Text: `{"token": "…"}` with any further fields from the inference service. Reasoning, only on the primary '
    'surface: `{"reasoning": "…"}`. After a failure: `{"error": "code", "detail"}` with the code `upstream_error`, '
    "`upstream_timeout`, `upstream_unavailable`, `content_refused`, `context_too_long`, `no_answer`, "
    "`tool_call_unsupported` or `not_saved`. The last one: "
    '`{"done": true, "status", "message_id", "token_count", "inference_time_ms", "finish_reason"}`.'
)
SSE_EVENT: dict[str, Any] = {
    "type": "object",
    "description": "One event of the stream. A comment (a single line without a blank line after it) comes first, and further "
    "comments while the stream is silent.",
    "properties": {
        "id": {
            "type": "string",
            "description": "Length of the text after this event, in code points; if there is reasoning, `T-R` with the lengths "
            "of both. The last event has the id `done`. Errors have no id.",
        },
        "data": {"type": "string", "contentMediaType": "application/json", "description": FRAME},
    },
    "required": ["data"],
}
NDJSON_LINE: dict[str, Any] = {"type": "object", "description": f"One line of the stream. {FRAME}"}
# For clients that already have `done`. Only a 204 stops an EventSource from reconnecting.
NO_MORE_EVENTS: dict[Any, Any] = {204: OpenApiResponse(description="Your last event is `done`, so there are no more")}
STREAMS: dict[Any, Any] = {(200, SSE): SSE_EVENT, (200, NDJSON): NDJSON_LINE, **NO_MORE_EVENTS}

SSE_EXAMPLE = OpenApiExample(
    "A short reply",
    value=': stream\nid: 5\ndata: {"token": "hello", "gpu": 0}\n\nid: done\ndata: {"done": true, "status": "complete", '
    '"message_id": "0192…", "token_count": 1, "inference_time_ms": 41, "finish_reason": "stop"}\n\n',
    media_type=SSE,
)
NDJSON_EXAMPLE = OpenApiExample(
    "A short reply, as lines",
    value='{"token": "hello", "gpu": 0}\n{"done": true, "status": "complete", "message_id": "0192…", "token_count": 1, '
    '"inference_time_ms": 41, "finish_reason": "stop"}\n',
    media_type=NDJSON,
)


class ErrorSchema(serializers.Serializer[Any]):
    detail = serializers.CharField()
    code = serializers.CharField()

    class Meta:
        ref_name = "Error"


class InvalidSchema(ErrorSchema):
    class Meta:
        ref_name = "Invalid"

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        # Not a class attribute, because `fields` is an attribute of serializers.
        problems = serializers.ListField(child=serializers.CharField())
        return {**super().get_fields(), "fields": serializers.DictField(required=False, child=problems)}


class ClosedSchemaExtension(OpenApiSerializerExtension):  # type: ignore[no-untyped-call]
    """Document every `ClosedSerializer` with `additionalProperties: false`."""

    target_class = "conversations.surfaces.request_fields.ClosedSerializer"
    match_subclasses = True

    def map_serializer(self, auto_schema: AutoSchema, direction: Any) -> dict[str, Any]:
        described: dict[str, Any] = auto_schema._map_serializer(  # type: ignore[no-untyped-call]
            self.target, direction, bypass_extensions=True
        )
        return {**described, "additionalProperties": False}


def query(name: str, description: str, kind: Any = OpenApiTypes.STR, **more: Any) -> OpenApiParameter:
    return OpenApiParameter(name, kind, OpenApiParameter.QUERY, description=description, **more)


def header(name: str, description: str) -> OpenApiParameter:
    return OpenApiParameter(name, OpenApiTypes.STR, OpenApiParameter.HEADER, description=description)


def path_id(name: str) -> OpenApiParameter:
    return OpenApiParameter(name, OpenApiTypes.UUID, OpenApiParameter.PATH)


def errors(*statuses: int) -> dict[Any, Any]:
    return {(status, JSON): InvalidSchema if status == 400 else ErrorSchema for status in statuses}


def operation(operation_id: str, summary: str, tag: str, **options: Any) -> Callable[[View], View]:
    """Return a decorator that describes a view's method in the OpenAPI file."""

    def describe(view: View) -> View:
        parameters = [*options.pop("parameters", []), RETRY_AFTER]
        described: View = extend_schema(
            operation_id=operation_id, summary=summary, tags=[tag], parameters=parameters, **options
        )(view)
        return described

    return describe


def limit(most: int, default: int | None = None) -> OpenApiParameter:
    bounds: dict[str, Any] = {"type": "integer", "minimum": 1, "maximum": most}
    return query("limit", f"1 to {most:,}", bounds if default is None else {**bounds, "default": default})


def answer_header(name: str, description: str, *statuses: int) -> OpenApiParameter:
    return OpenApiParameter(name, OpenApiTypes.STR, OpenApiParameter.HEADER, response=list(statuses), description=description)


def example(value: dict[str, Any]) -> OpenApiExample:
    """Return the body that Swagger's "Try it out" begins with."""
    return OpenApiExample("A request", value=value, request_only=True)


LIMIT = limit(200)
RETRY_AFTER = answer_header("Retry-After", "Seconds until the request may succeed, where that is known", 429, 502, 503)
STARTED_REPLY = [
    answer_header("X-Message-Id", "Id of the reply", 200, 202),
    answer_header("Content-Location", "The reply. With `/stream` behind it: its stream", 200, 202),
]
CURSOR = query("cursor", "The `next` value of the previous page")
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
